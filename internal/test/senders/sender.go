// Package senders runs programs that send email, such as Postfix and curl.
package senders

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
)

// A Message is one message for a Sender. The lines of Text end in CR LF. Text contains
// Date and Message-ID, so that no sender adds them.
type Message struct {
	From, To string
	Text     []byte
	UTF8     bool // needs SMTPUTF8
}

// A Route is the server for one domain. If CA is set, senders use STARTTLS and verify the
// server with the certificate authority in this file; otherwise they do not use TLS.
type Route struct {
	Domain string
	Addr   string // 127.0.0.1:port
	CA     string
}

// A Sender is a real program that sends messages by its routes. Send may return before
// the message has arrived.
type Sender struct {
	Name string
	UTF8 bool // it supports SMTPUTF8
	Send func(t test.T, m Message)
	Log  func() string // log of the deliveries; may be nil
}

// A NewSender prepares a Sender of one kind.
type NewSender func(t test.T, routes []Route) *Sender

// All returns all senders by name.
func All() map[string]NewSender {
	return map[string]NewSender{
		"postfix":    Postfix,
		"exim":       Exim,
		"opensmtpd":  OpenSMTPD,
		"swaks":      commandSender("swaks", false, swaks),
		"msmtp":      commandSender("msmtp", false, msmtp),
		"curl":       commandSender("curl", true, curl),
		"nodemailer": nodemailer,
		"smtplib":    smtplib,
	}
}

// A command returns the command that sends the message in a file to the host and port
// of the route.
type command func(r Route, host, port string, m Message, file string) *exec.Cmd

// commandSender returns a function that makes a Sender of a program. The Sender runs the
// program once for each message; when the program exits, it has sent the message.
func commandSender(program string, utf8 bool, build command) NewSender {
	return func(t test.T, routes []Route) *Sender {
		t.Helper()
		test.Need(t, program)
		dir := t.TempDir()
		return &Sender{Name: program, UTF8: utf8, Send: func(t test.T, m Message) {
			t.Helper()
			r := routeFor(t, routes, m)
			host, port, err := net.SplitHostPort(r.Addr)
			if err != nil {
				t.Fatalf("split the address of the route: %v", err)
			}
			file := filepath.Join(dir, "mail.eml")
			text := m.Text
			if program == "swaks" { // it adds the last line end
				text = bytes.TrimSuffix(text, []byte("\r\n"))
			}
			if err := os.WriteFile(file, text, 0o644); err != nil {
				t.Fatalf("write the message: %v", err)
			}
			run(t, build(r, host, port, m, file))
		}}
	}
}

// run runs a command for at most 1 min, and requires success.
func run(t test.T, cmd *exec.Cmd) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	limited := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	limited.Env, limited.Stdin, limited.Dir = cmd.Env, cmd.Stdin, cmd.Dir
	limited.WaitDelay = time.Second
	if out, err := limited.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
}

func routeFor(t test.T, routes []Route, m Message) Route {
	t.Helper()
	for _, r := range routes {
		if strings.HasSuffix(m.To, "@"+r.Domain) {
			return r
		}
	}
	t.Fatalf("no route for %s", m.To)
	return Route{}
}

func swaks(r Route, host, port string, m Message, file string) *exec.Cmd {
	args := []string{"--server", host, "--port", port, "--helo", "swaks.test", "--from", m.From, "--to", m.To,
		"--data", "@" + file, "--hide-all", "--timeout", "30"}
	if r.CA != "" {
		args = append(args, "--tls", "--tls-verify", "--tls-ca-path", r.CA)
	}
	return exec.Command("swaks", args...)
}

func msmtp(r Route, host, port string, m Message, file string) *exec.Cmd {
	args := []string{"--file=/dev/null", "--host=" + host, "--port=" + port, "--domain=msmtp.test", "--auth=off",
		"--from=" + m.From, "--timeout=300"}
	if r.CA != "" {
		args = append(args, "--tls=on", "--tls-starttls=on", "--tls-trust-file="+r.CA)
	}
	cmd := exec.Command("msmtp", append(args, "--", m.To)...)
	// As in every sendmail program, lines of the input end in LF.
	cmd.Stdin = bytes.NewReader(bytes.ReplaceAll(m.Text, []byte("\r\n"), []byte("\n")))
	return cmd
}

func curl(r Route, host, port string, m Message, file string) *exec.Cmd {
	args := []string{"--disable", "--silent", "--show-error", "--max-time", "60", "--noproxy", "*",
		"smtp://" + host + ":" + port + "/curl.test", "--mail-from", m.From, "--mail-rcpt", m.To, "--upload-file", file}
	if r.CA != "" {
		args = append(args, "--ssl-reqd", "--cacert", r.CA)
	}
	return exec.Command("curl", args...)
}

// script returns a command that runs a script with an interpreter. The arguments of the
// script are host, port, from, to, file, the file of the CA or "", and "utf8" or "".
func script(program string, flags []string, text string) command {
	return func(r Route, host, port string, m Message, file string) *exec.Cmd {
		utf8 := ""
		if m.UTF8 {
			utf8 = "utf8"
		}
		cmd := exec.Command(program, append(flags, text, host, port, m.From, m.To, file, r.CA, utf8)...)
		// Debian installs the packages of node in this directory.
		cmd.Env = append(os.Environ(), "NODE_PATH=/usr/share/nodejs")
		return cmd
	}
}

const nodemailerScript = `
const [host, port, from, to, file, ca] = process.argv.slice(1);
const fs = require('fs');
require('nodemailer').createTransport({
  host, port, name: 'nodemailer.test', secure: false, ignoreTLS: !ca, requireTLS: !!ca, greetingTimeout: 300000,
  tls: ca ? {ca: fs.readFileSync(ca)} : {},
}).sendMail({envelope: {from, to}, raw: fs.readFileSync(file)}, err => {
  if (err) { console.error(err); process.exit(1); }
});`

func nodemailer(t test.T, routes []Route) *Sender {
	t.Helper()
	test.Need(t, "node")
	if err := exec.Command("node", "-e", "require('/usr/share/nodejs/nodemailer')").Run(); err != nil {
		test.Need(t, "nodemailer") // fails or skips, since no program has this name
	}
	s := commandSender("node", true, script("node", []string{"-e"}, nodemailerScript))(t, routes)
	s.Name = "nodemailer"
	return s
}

const smtplibScript = `
import smtplib, ssl, sys
host, port, sender, to, file, ca, utf8 = sys.argv[1:]
with smtplib.SMTP(host, int(port), local_hostname='smtplib.test', timeout=300) as s:
    if ca:
        s.starttls(context=ssl.create_default_context(cafile=ca))
    options = ['BODY=8BITMIME'] + (['SMTPUTF8'] if utf8 else [])
    s.sendmail(sender, [to], open(file, 'rb').read(), mail_options=options)
`

func smtplib(t test.T, routes []Route) *Sender {
	t.Helper()
	s := commandSender("python3", true, script("python3", []string{"-c"}, smtplibScript))(t, routes)
	s.Name = "smtplib"
	return s
}

// inject submits a message to a mail server by SMTP.
func inject(t test.T, addr string, m Message) {
	t.Helper()
	c, err := client.Connect(addr, time.Minute)
	if err != nil {
		t.Fatalf("inject the message: %v", err)
	}
	defer c.Close()
	if err := c.Hello(); err != nil {
		t.Fatalf("inject the message: %v", err)
	}
	params := "BODY=8BITMIME"
	if m.UTF8 {
		params += " SMTPUTF8"
	}
	r, err := c.Send(m.From, params, []string{m.To}, m.Text)
	if err == nil && r.Code != 250 {
		err = fmt.Errorf("the server replied %v", r)
	}
	if err != nil {
		t.Fatalf("inject the message: %v", err)
	}
}
