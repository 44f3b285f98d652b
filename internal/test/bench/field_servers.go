package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/senders"
)

// The versions of the servers that are built.
const (
	mailpitVersion  = "v1.33.1"
	inbucketVersion = "v3.2.0"
	harakaVersion   = "3.3.4"
	harakaNode      = 20 // the oldest Node.js of this version
)

func startExim(_ context.Context, h *harness) *server {
	s := startReceiver(h, senders.EximMaildir(h))
	s.version = "Exim " + wordAfter(s.output(), " exim ")
	s.share = 20
	s.settings = []setting{{"exim", "a twentieth of the messages; Debian's router and transport for maildirs, to one maildir, without checks and TLS; " +
		"smtp_accept_max=1000 and smtp_connect_backlog=1000 (20 refuse or delay 100 clients), " +
		"smtp_accept_queue_per_connection=0 (10 leave messages of B in the queue until the next queue run)"}}
	return s
}

func startOpenSMTPD(_ context.Context, h *harness) *server {
	s := startReceiver(h, senders.OpenSMTPDMaildir(h))
	s.version = "OpenSMTPD " + wordAfter(s.output(), "OpenSMTPD ")
	s.share, s.most = 5, 5
	s.settings = []setting{{"opensmtpd", "a fifth of the messages, 5 sessions, because it lets only 5 connections wait (a constant in its source); " +
		"a maildir action to one maildir, its queue in the same directory as the stores; smtp limit max-mails 1000000 (100 refuse messages of B); " +
		"DNS queries fail immediately"}}
	return s
}

// wordAfter returns the word after the first mark in a log.
func wordAfter(log, mark string) string {
	_, rest, _ := strings.Cut(log, mark)
	word, _, _ := strings.Cut(rest, " ")
	return orUnknown(word)
}

// startReceiver returns the server of a receiver that queues messages.
func startReceiver(h *harness, r *senders.Receiver) *server {
	return &server{addr: r.Addr, pids: []int{r.Pid}, group: newGroup(h, r.Pid), output: r.Log, queued: r.Queued,
		rows: countFiles(filepath.Join(r.Maildir, "new"))}
}

// startHaraka starts Haraka with the plugin queue/test, the only one of its own that stores
// each message and needs no other server.
func startHaraka(ctx context.Context, h *harness) *server {
	version := output(ctx, "node", "--version")
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < harakaNode {
		h.Skipf("Haraka %s needs Node.js %d (package nodejs); installed: %q", harakaVersion, harakaNode, version)
	}
	program := filepath.Join(nodePackage(ctx, h, "Haraka", harakaVersion), "bin", "haraka")
	dir, addr := h.TempDir(), freeAddr(h)
	mail := filepath.Join(dir, "mail")
	if out, err := exec.CommandContext(ctx, "node", program, "-i", dir).CombinedOutput(); err != nil {
		h.Fatalf("make the configuration of Haraka: %v\n%s", err, out)
	}
	if err := os.Mkdir(mail, 0o755); err != nil {
		h.Fatalf("make a directory: %v", err)
	}
	config := filepath.Join(dir, "config")
	test.WriteFile(h, config, "smtp.ini", "listen="+addr+"\n")
	test.WriteFile(h, config, "host_list", "example.com\n")
	test.WriteFile(h, config, "plugins", "rcpt_to.in_host_list\nqueue/test\n")
	cmd := exec.Command("node", program, "-c", dir)
	cmd.Env = append(os.Environ(), "TMPDIR="+mail) // queue/test stores there
	s := startLogged(h, addr, cmd)
	s.parent, s.pids, s.share = cmd.Process.Pid, nil, 5
	s.rows = countFiles(mail)
	s.version = "Haraka " + harakaVersion + ", Node.js " + version
	s.settings = []setting{{"haraka", "a fifth of the messages; configuration of haraka -i with the plugins rcpt_to.in_host_list and queue/test, which writes a file " +
		"for each message; one worker process, the default"}}
	return s
}

func startMailpit(ctx context.Context, h *harness) *server {
	program := goProgram(ctx, h, "mailpit", "github.com/axllent/mailpit", mailpitVersion)
	file, addr := filepath.Join(h.TempDir(), "mailpit.db"), freeAddr(h)
	s := startLogged(h, addr, exec.Command(program, "--database", file, "--smtp", addr, "--listen", freeAddr(h), "--max", "0"))
	source := url.URL{Scheme: "file", Path: file, RawQuery: "mode=ro&_pragma=busy_timeout(10000)"}
	db, err := sql.Open("sqlite", source.String())
	if err != nil {
		h.Fatalf("open the store of Mailpit: %v", err)
	}
	h.Cleanup(func() { db.Close() })
	s.rows = func(ctx context.Context) (n int, err error) {
		err = db.QueryRowContext(ctx, "SELECT COUNT(*) FROM mailbox").Scan(&n)
		return n, err
	}
	s.version, s.share = "Mailpit "+mailpitVersion, 5
	s.settings = []setting{{"mailpit", "a fifth of the messages; --database (the default deletes the file at the end), --max 0 (the default keeps 500 messages); " +
		"it sets WAL and synchronous=NORMAL; without the files of its web page, which the module does not contain"}}
	return s
}

// startInbucket starts Inbucket with its default store.
func startInbucket(ctx context.Context, h *harness) *server {
	return runInbucket(ctx, h, setting{"inbucket", "store in memory, the default; INBUCKET_STORAGE_MAILBOXMSGCAP=0 (the default keeps 500 messages); " +
		"the mailbox is deleted after each measurement; without the files of its web page, which the module does not contain"},
		"INBUCKET_STORAGE_MAILBOXMSGCAP=0")
}

// startInbucketFile starts Inbucket with its other store. For each message, this store
// writes a list of all messages of the mailbox.
func startInbucketFile(ctx context.Context, h *harness) *server {
	s := runInbucket(ctx, h, setting{"inbucket-file", "store in files; a tenth of the messages, so that a measurement of 500 fits in the mailbox, " +
		"which the default limits to 500 messages; the mailbox is deleted after each measurement"},
		"INBUCKET_STORAGE_TYPE=file", "INBUCKET_STORAGE_PARAMS=path:"+h.TempDir())
	s.share = 10
	return s
}

func runInbucket(ctx context.Context, h *harness, settings setting, variables ...string) *server {
	program := goProgram(ctx, h, "inbucket", "github.com/inbucket/inbucket/v3/cmd/inbucket", inbucketVersion)
	addr, web := freeAddr(h), freeAddr(h)
	cmd := exec.Command(program)
	cmd.Dir = h.TempDir() // without a Lua script
	cmd.Env = append(os.Environ(), append(variables, "INBUCKET_SMTP_ADDR="+addr, "INBUCKET_WEB_ADDR="+web, "INBUCKET_POP3_ADDR="+freeAddr(h))...)
	s := startLogged(h, addr, cmd)
	before := 0
	s.rows = func(ctx context.Context) (int, error) {
		n, err := emptyMailbox(ctx, "http://"+web+"/api/v1/mailbox/test")
		before += n
		return before, err
	}
	s.version = "Inbucket " + inbucketVersion
	s.settings = []setting{settings}
	return s
}

// emptyMailbox deletes the messages of a mailbox of Inbucket, and returns their number.
func emptyMailbox(ctx context.Context, url string) (int, error) {
	var messages []struct{}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		request, err := http.NewRequestWithContext(ctx, method, url, nil)
		if err != nil {
			return 0, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, fmt.Errorf("query Inbucket: %w", err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("query Inbucket: %s %s: %s", method, url, response.Status)
		}
		if method == http.MethodGet {
			if err := json.NewDecoder(response.Body).Decode(&messages); err != nil {
				return 0, fmt.Errorf("query Inbucket: %w", err)
			}
		}
	}
	return len(messages), nil
}
