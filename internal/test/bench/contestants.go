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

// The contestants that are references for other contestants.
const (
	reference    = "smtp-sink"
	goReference  = "go-smtp"
	tlsReference = "bare TLS"
	discard      = "goguerrillad-discard"
)

// A contestant is a server that receives messages.
type contestant struct {
	name    string
	durable string // what is durable when it replies 250
	able    int    // its abilities
	start   func(context.Context, *harness) *server
}

// The abilities of contestants.
const (
	plain       = 1 << iota // messages as smtp-source sends them
	secured                 // STARTTLS, and everything that a plan can do
	handshaking             // TLS handshakes only
)

// contestants returns all contestants in the order of the table.
func contestants() []contestant {
	return []contestant{
		{reference, "nothing (discard)", plain, startSMTPSink},
		{goReference, "nothing (discard)", plain | secured, startGoSMTP},
		{tlsReference, "nothing (no message)", handshaking, startBareTLS},
		{"postfix", "queue file, fsync", plain, startPostfix},
		{discard, "nothing (discard)", plain | secured, startDiscard},
		{"nginx+goguerrillad", "nothing (discard)", secured, startNginx},
		{"goguerrillad-sqlite", "SQLite transaction", plain | secured, startSQLite},
		{"goguerrillad-mysql", "InnoDB transaction", plain | secured, startMySQL},
		{"goguerrillad-postgres", "PostgreSQL transaction", plain | secured, startPostgres},
		{"goguerrillad-tidb", "TiDB transaction, one process", plain, startTiDB},
		{"goguerrillad-maildir", "file and name, fsync", plain, startMaildir},
		{"goguerrillad-webhook", "the receiver's 204, which stores nothing", plain, startWebhook},
	}
}

func contestantNames() []string { return names(contestants()) }

func names(contestants []contestant) []string {
	var names []string
	for _, c := range contestants {
		names = append(names, c.name)
	}
	return names
}

// A server is a running contestant.
type server struct {
	contestant
	addr   string
	loops  int                                // of the daemon; 0 = the default
	pids   []int                              // its processes
	parent int                                // if not 0, this process and its children count too
	group  group                              // if not "", its processes count instead
	share  int                                // if not 0, it receives only one of share messages, because it is slow
	most   int                                // concurrent sessions of the client; 0 = those of the case
	queued func() bool                        // reports whether accepted messages are not yet stored; nil = never
	rows   func(context.Context) (int, error) // counts the rows of the store; nil = there is no store to count

	// These fields are for BENCH=service.
	network  []string                           // command that executes its arguments in the server's network
	journald int                                // the process of journald, which is one of pids
	entries  func(context.Context) (int, error) // counts the accepted messages in the log

	output func() string // its output, for an error

	// commit inserts n rows with a message of 5 KB, each in its own transaction after a
	// pause, and returns the median duration of an INSERT. fill inserts n small rows with a
	// date, which is an SQL expression. Both, and expiry, are nil without a table.
	commit func(ctx context.Context, n int, pause time.Duration) (time.Duration, error)
	fill   func(ctx context.Context, n int, date string) error
	expiry *expiry

	version  string
	settings []setting
}

// processes returns the ids of the running processes.
func (s *server) processes() []int {
	if s.group != "" {
		return s.group.processes(s.pids[0])
	}
	if s.parent == 0 {
		return s.pids
	}
	return append(withChildren(s.parent), s.pids...)
}

// cpu returns the CPU time of the processes.
func (s *server) cpu() (time.Duration, error) {
	if s.group != "" {
		return s.group.cpu()
	}
	return processCPU(s.processes())
}

// journaldCPU returns the CPU time of journald, 0 if the server does not log to it.
func (s *server) journaldCPU() (time.Duration, error) {
	if s.journald == 0 {
		return 0, nil
	}
	return processCPU([]int{s.journald})
}

// A setting is a line of the report.
type setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// needPostfix returns an error unless smtp-source and smtp-sink are installed.
func needPostfix() error {
	for _, program := range []string{"smtp-source", "smtp-sink"} {
		if _, err := test.LookPath(program); err != nil {
			return fmt.Errorf("%s is missing (package postfix): "+
				"sh internal/test/install.sh installs it, as root", program)
		}
	}
	return nil
}

// named returns the contestants with these names, in the order of the table.
func named(names []string) []contestant {
	return slices.DeleteFunc(append(contestants(), fieldContestants()...), func(c contestant) bool { return !slices.Contains(names, c.name) })
}

// startAll starts contestants. It returns the running servers, and the reason for each
// contestant that cannot run on this machine.
func startAll(ctx context.Context, h *harness, all []contestant) (running []*server, skipped []setting, err error) {
	for _, c := range all {
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

// startProcess starts a server process and waits for its port.
func startProcess(h *harness, addr string, cmd *exec.Cmd) *server {
	p := test.Start(h, cmd)
	test.Await(h, p, 10*time.Second, "wait for the port of the server", test.Dial(addr))
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
		// smtp-sink refuses to run as root. With its option -u it would lose the
		// parent-death signal.
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: test.Nobody, Gid: test.Nobody}}
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

// startBareTLS starts a server that completes the TLS handshake and closes the connection,
// to measure the cost of TLS without SMTP.
func startBareTLS(_ context.Context, h *harness) *server {
	s := startSink(h, tlsSink)
	s.version = goVersion()
	return s
}

func startPostfix(ctx context.Context, h *harness) *server {
	addr, master, log := senders.PostfixQueue(h, "example.com")
	return &server{addr: addr, parent: master, output: log, version: output(ctx, "postconf", "-dh", "mail_version"),
		settings: []setting{{"postfix", "defaults, its queue in the same directory as the stores; deliveries are discarded"}}}
}

// startSink starts this program as a server that discards its input.
func startSink(h *harness, argument string) *server {
	program, err := os.Executable()
	if err != nil {
		h.Fatalf("find the path of this program: %v", err)
	}
	addr, pair := freeAddr(h), h.certificate()
	return startProcess(h, addr, exec.Command(program, argument, addr, pair.CertFile, pair.KeyFile))
}
