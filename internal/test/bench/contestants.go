package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/senders"
)

// The contestants that all others are compared with.
const (
	reference    = "smtp-sink"
	goReference  = "go-smtp"
	tlsReference = "bare TLS"
)

// A contestant receives mail.
type contestant struct {
	name    string
	durable string // what is safe when it answers 250
	able    int    // what it can be asked to do
	start   func(context.Context, *harness) *server
}

// What contestants can do.
const (
	plain   = 1 << iota // mails as smtp-source sends them
	secured             // STARTTLS, and all that a client of ours does
	shaking             // TLS handshakes, and nothing else
)

// contestants returns all of them, in the table's order.
func contestants() []contestant {
	return []contestant{
		{reference, "nothing (discard)", plain, startSMTPSink},
		{goReference, "nothing (discard)", plain | secured, startGoSMTP},
		{tlsReference, "nothing (no mail)", shaking, startBareTLS},
		{"postfix", "queue file, fsync", plain, startPostfix},
		{"goguerrillad-discard", "nothing (discard)", plain | secured, startDiscard},
		{"goguerrillad-sqlite", "SQLite transaction", plain | secured, startSQLite},
		{"goguerrillad-mysql", "InnoDB transaction", plain | secured, startMySQL},
		{"goguerrillad-tidb", "TiDB transaction, one process", plain, startTiDB},
		{"goguerrillad-maildir", "file and name, fsync", plain, startMaildir},
		{"goguerrillad-webhook", "the receiver's 204, which stores nothing", plain, startWebhook},
	}
}

func contestantNames() []string {
	var names []string
	for _, c := range contestants() {
		names = append(names, c.name)
	}
	return names
}

// A server is a contestant that runs.
type server struct {
	contestant
	addr   string
	pids   []int                              // its processes
	parent int                                // whose children are its processes as well; 0 for none
	rows   func(context.Context) (int, error) // in its store; nil if it has none
	output func() string                      // what it said, for an error

	// commit inserts n rows one by one, as large as a mail of 5 KB, and returns
	// the median of what one takes; fill inserts n small ones. Both are nil
	// without a table.
	commit func(ctx context.Context, n int) (time.Duration, error)
	fill   func(ctx context.Context, n int) error

	version  string
	settings []setting
}

// processes returns the ids of those that run now.
func (s *server) processes() []int {
	if s.parent == 0 {
		return s.pids
	}
	return family(s.parent)
}

// A setting is a line of the report.
type setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// needPostfix returns an error unless the client is there.
func needPostfix() error {
	for _, program := range []string{"smtp-source", "smtp-sink"} {
		if _, err := test.LookPath(program); err != nil {
			return fmt.Errorf("%s is missing, the package postfix has it: "+
				"sh internal/test/install.sh, which make test runs too, installs it as root", program)
		}
	}
	return nil
}

// startAll starts the contestants named. It returns those that run, and why
// the others cannot on this machine.
func startAll(ctx context.Context, h *harness, names []string) (running []*server, skipped []setting, err error) {
	for _, c := range contestants() {
		if !slices.Contains(names, c.name) {
			continue
		}
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		h.Logf("start %s", c.name)
		var s *server
		err := h.try(func() { s = c.start(ctx, h) })
		if errors.Is(err, errSkipped) {
			h.Logf("%s: %v", c.name, err)
			skipped = append(skipped, setting{c.name, err.Error()})
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", c.name, err)
		}
		s.contestant = c
		running = append(running, s)
	}
	return running, skipped, nil
}

// startProcess starts a server that needs no configuration and waits for its
// port.
func startProcess(h *harness, addr string, cmd *exec.Cmd) *server {
	p := test.Start(h, cmd)
	test.Await(h, p, 10*time.Second, "nobody listens", test.Dial(addr))
	return &server{addr: addr, pids: []int{cmd.Process.Pid}, output: p.Output}
}

func freeAddr(h *harness) string { return fmt.Sprintf("127.0.0.1:%d", test.FreePort(h)) }

func startSMTPSink(ctx context.Context, h *harness) *server {
	program, err := test.LookPath("smtp-sink")
	if err != nil {
		h.Fatalf("%v", err)
	}
	addr := freeAddr(h)
	cmd := exec.Command(program, addr, "1000") // the backlog
	if os.Geteuid() == 0 {
		// It refuses to be root. Its own -u would shake off the signal that
		// ends it when this program is killed.
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	s := startProcess(h, addr, cmd)
	s.version = "Postfix " + output(ctx, "postconf", "-dh", "mail_version")
	return s
}

func startGoSMTP(_ context.Context, h *harness) *server {
	s := startSink(h, smtpSink)
	s.version = moduleVersion("github.com/emersion/go-smtp")
	return s
}

// startBareTLS starts what shakes hands and closes: the price of TLS alone.
func startBareTLS(_ context.Context, h *harness) *server {
	s := startSink(h, tlsSink)
	s.version = goVersion()
	return s
}

func startPostfix(ctx context.Context, h *harness) *server {
	addr, master, log := senders.PostfixQueue(h, "example.com")
	return &server{addr: addr, parent: master, output: log, version: output(ctx, "postconf", "-dh", "mail_version"),
		settings: []setting{{"postfix", "defaults, its queue under the same directory as the stores; deliveries are thrown away"}}}
}

// startSink starts this program as one of its sinks.
func startSink(h *harness, argument string) *server {
	program, err := os.Executable()
	if err != nil {
		h.Fatalf("find one's own program: %v", err)
	}
	addr, pair := freeAddr(h), h.certificate()
	return startProcess(h, addr, exec.Command(program, argument, addr, pair.CertFile, pair.KeyFile))
}
