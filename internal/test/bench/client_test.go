package main

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
)

// startRole starts a server in another process, as the benchmark does.
func startRole(t *testing.T, argument string) (addr string) {
	t.Helper()
	h, err := newHarness(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	if err := h.try(func() { addr = startSink(h, argument).addr }); err != nil {
		t.Fatal(err)
	}
	return addr
}

// TestPlans executes each kind of plan.
func TestPlans(t *testing.T) {
	smtp, bareTLS := startRole(t, smtpSink), startRole(t, tlsSink)
	for _, tt := range []struct {
		name    string
		plan    plan
		refused int
		resumed bool
	}{
		{"plain", plan{Addr: smtp, Do: doSend, Size: 5000}, 0, false},
		{"kept", plan{Addr: smtp, Do: doSend, Size: 500, Keep: true}, 0, false},
		{"TLS", plan{Addr: smtp, Do: doSend, Size: 5000, TLS: true}, 0, false},
		{"TLS, resumed", plan{Addr: smtp, Do: doSend, Size: 5000, TLS: true, Resume: true}, 0, true},
		{"limited rate", plan{Addr: smtp, Do: doSend, Size: 5000, Rate: 1000}, 0, false},
		{"varied", plan{Addr: smtp, Do: doSend, Varied: true}, 4, false},
		{"handshakes", plan{Addr: bareTLS, Do: doHandshake}, 0, false},
		{"handshakes, resumed", plan{Addr: bareTLS, Do: doHandshake, Resume: true}, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.plan.Messages, tt.plan.Sessions = 200, 10
			o, cpu, err := tt.plan.run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if o.Messages+o.Refused != 200 || o.Refused != tt.refused || o.Wall <= 0 || cpu <= 0 || (o.Resumed > 100) != tt.resumed {
				t.Errorf("outcome %+v, want 200 messages, %d of them refused, resumed %v", o, tt.refused, tt.resumed)
			}
			if sends := tt.plan.Do == doSend; sends != (o.wait(0.5) > 0 && o.wait(0.99) >= o.wait(0.5) && o.Rows >= o.Messages) {
				t.Errorf("%d rows, waits of %s and %s", o.Rows, o.wait(0.5), o.wait(0.99))
			}
		})
	}
}

// TestPlanFails checks that a message that is not acknowledged is an error.
func TestPlanFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sink := newSink()
	sink.MaxMessageBytes = 1000
	go sink.Serve(l)
	defer sink.Close()
	p := plan{Addr: l.Addr().String(), Do: doSend, Size: 5000, Messages: 5, Sessions: 2}
	if _, _, err := p.run(t.Context()); err == nil || !strings.Contains(err.Error(), "want 250") {
		t.Errorf("error %v, want one with \"want 250\"", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := p.run(ended); err == nil {
		t.Error("run with a context that has ended: no error")
	}
}

// TestVaried checks that the messages have many sizes, are the same in each call, and need
// no dot-stuffing.
func TestVaried(t *testing.T) {
	messages, again := varied(), varied()
	small, large := 0, 0
	for i, m := range messages {
		text := string(m)
		if text != string(again[i]) || !strings.HasSuffix(text, "--\r\n") || strings.Contains(text, "\r\n.") || strings.Count(text, "\n") != strings.Count(text, "\r\n") {
			t.Errorf("message %d differs in the second call, or is not one without dot-stuffing", i)
		}
		if len(m) < 5000 {
			small++
		}
		if len(m) > 100_000 {
			large++
		}
	}
	if small < 5 || large < 5 {
		t.Errorf("%d messages are small and %d large, want at least 5 of each", small, large)
	}
	for _, size := range []int{100, 500, 5000, 100_000} {
		if m := constant(size)[0]; len(m) != size && size > 100 {
			t.Errorf("%d bytes, want %d", len(m), size)
		}
	}
}

// TestWithChildren checks that withChildren returns the running children of a process.
func TestWithChildren(t *testing.T) {
	startRole(t, tlsSink)
	if pids := withChildren(os.Getpid()); len(pids) < 2 || pids[0] != os.Getpid() {
		t.Errorf("processes %d, want this process and a child", pids)
	}
	test.Await(t, nil, 10*time.Second, "read the CPU time", func() error {
		_, err := processCPU(withChildren(os.Getpid()))
		return err
	})
}
