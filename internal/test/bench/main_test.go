package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
	smtpclient "goguerrillad/internal/test/client"
)

// TestMain makes the test binary a client or a server, as the benchmark does.
func TestMain(m *testing.M) {
	if serve := role(os.Args); serve != nil {
		if err := serve(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestOptions(t *testing.T) {
	for _, test := range []struct {
		name  string
		args  string
		env   map[string]string
		check func(options) bool // nil: an error
	}{
		{"defaults", "", nil, func(o options) bool {
			return o.rounds == 5 && o.messages == 5000 && o.budget == 25*time.Minute && o.out == "" &&
				slices.Equal(o.cases, workloadNames()) && slices.Equal(o.contestants, contestantNames())
		}},
		{"short", "", map[string]string{"BENCH": "short"}, func(o options) bool {
			return o.rounds == 3 && o.messages == 2500 && o.budget < 3*time.Minute
		}},
		{"short with more rounds", "", map[string]string{"BENCH": "short", "ROUNDS": "7"}, func(o options) bool {
			return o.rounds == 7 && o.budget < 3*time.Minute
		}},
		{"field", "", map[string]string{"BENCH": "field"}, func(o options) bool {
			return o.rounds == 3 && !o.probes && slices.Equal(o.cases, []string{"A", "B", "C", "D"}) &&
				slices.Contains(o.contestants, "goguerrillad-sqlite") && slices.Contains(o.contestants, "exim")
		}},
		{"one of the field", "-contestants exim", nil, func(o options) bool { return slices.Equal(o.contestants, []string{"exim"}) }},
		{"scaling", "-rounds 1", map[string]string{"BENCH": "scaling"}, func(o options) bool {
			return o.mode == scaling && !o.probes && o.rounds == 1 && o.budget < 7*time.Minute && slices.Equal(o.cases, []string{"A", "B", "E"}) &&
				slices.Equal(o.contestants, []string{"goguerrillad-discard", "goguerrillad-sqlite", "goguerrillad-mysql"})
		}},
		{"service", "", map[string]string{"BENCH": "service"}, func(o options) bool {
			return o.mode == service && !o.probes && slices.Equal(o.cases, []string{"A"})
		}},
		{"flags before environment", "-rounds 2 -out x -seed 9", map[string]string{"ROUNDS": "7", "BENCH_OUT": "y"}, func(o options) bool {
			return o.rounds == 2 && o.out == "x" && o.seed == 9
		}},
		{"selected", "-cases A,D -contestants smtp-sink,go-smtp", nil, func(o options) bool {
			return slices.Equal(o.cases, []string{"A", "D"}) && slices.Equal(o.contestants, []string{"smtp-sink", "go-smtp"})
		}},
		{"unknown mode", "", map[string]string{"BENCH": "long"}, nil},
		{"no number", "", map[string]string{"ROUNDS": "many"}, nil},
		{"no round", "-rounds 0", nil, nil},
		{"too few messages", "-messages 1", nil, nil},
		{"unknown case", "-cases A,Z", nil, nil},
		{"unknown contestant", "-contestants sendmail", nil, nil},
		{"argument", "A", nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, err := parseOptions(strings.Fields(test.args), func(name string) string { return test.env[name] })
			if (err != nil) != (test.check == nil) {
				t.Fatalf("error %v", err)
			}
			if err == nil && !test.check(o) {
				t.Errorf("got %+v", o)
			}
		})
	}
}

func TestHarness(t *testing.T) {
	h, err := newHarness(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var order []int
	for i := range 3 {
		h.Cleanup(func() { order = append(order, i) })
	}
	h.Cleanup(func() { h.Fatalf("cleanup") })
	if err := h.try(func() { h.Skipf("no %s", "mariadbd") }); !errors.Is(err, errSkipped) || !strings.Contains(err.Error(), "no mariadbd") {
		t.Errorf("Skipf: %v", err)
	}
	if err := h.try(func() { h.Fatalf("bad") }); err == nil || errors.Is(err, errSkipped) {
		t.Errorf("Fatalf: %v", err)
	}
	if err := h.try(func() {}); err != nil {
		t.Errorf("neither Fatalf nor Skipf: %v", err)
	}
	if dir := h.TempDir(); !strings.HasPrefix(dir, h.dir) {
		t.Errorf("%s is not in %s", dir, h.dir)
	}
	if err := h.close(); err == nil || !strings.Contains(err.Error(), "cleanup") {
		t.Errorf("close: %v", err)
	}
	if !slices.Equal(order, []int{2, 1, 0}) {
		t.Errorf("order of the cleanups: %v, want 2, 1, 0", order)
	}
	if _, err := os.Stat(h.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s still exists: %v", h.dir, err)
	}
}

func TestSink(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newSink()
	go s.Serve(l)
	defer s.Close()
	c, err := smtpclient.Connect(l.Addr().String(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Hello(); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{500, 100_000} {
		text := strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72)
		if r, err := c.Send("a@b.com", "", []string{"test@example.com"}, []byte(text)); err != nil || r.Code != 250 {
			t.Errorf("%d bytes: %v, %v", size, r, err)
		}
	}
}

// TestRun runs a small benchmark without goguerrillad.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real servers")
	}
	test.Need(t, "smtp-source", "smtp-sink")
	path := filepath.Join(t.TempDir(), "report")
	o := options{rounds: 2, messages: 100, budget: time.Minute, out: path,
		cases: []string{"A", "B"}, contestants: []string{reference, goReference}}
	var out, log strings.Builder
	if err := run(t.Context(), o, &out, &log); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	text, err := os.ReadFile(path + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Results) != 4 {
		t.Fatalf("%d results, want 4\n%s", len(r.Results), &out)
	}
	for _, result := range r.Results {
		if result.Rate.Min <= 0 || result.Rate.Max < result.Rate.Median || result.Ratio <= 0 || result.GoRatio <= 0 || result.ClientCPU <= 0 || len(result.Samples) != 2 {
			t.Errorf("%+v", result)
		}
	}
}

// TestNginx sends messages through nginx, with new and with resumed TLS sessions, and counts
// the CPU time of nginx.
func TestNginx(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real servers")
	}
	test.Need(t, "smtp-source", "nginx")
	h, err := newHarness(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	var running []*server
	if err := h.try(func() { running, _, err = startAll(t.Context(), h, named([]string{"nginx+goguerrillad"})) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := running[0]
	if n := len(s.processes()); n != 2+runtime.NumCPU() || !strings.Contains(s.version, "nginx/") || !strings.Contains(s.version, "OpenSSL") {
		t.Errorf("%d processes, want the daemon, nginx and a worker for each CPU; version %q", n, s.version)
	}
	b := &bench{log: t.Logf}
	for _, resume := range []bool{false, true} {
		w := workload{Name: "E", Size: 5000, Messages: 200, Sessions: 20, plan: &plan{TLS: true, Resume: resume}}
		got, err := b.measure(t.Context(), w, s)
		if err != nil {
			t.Errorf("resumed sessions %v: %v", resume, err)
		} else if got.ServerCPU <= 0 {
			t.Errorf("resumed sessions %v: %+v", resume, got)
		}
	}
	unresumed := workload{Name: "R", Size: 5000, Messages: 50, Sessions: 5, plan: &plan{Resume: true}}
	if _, err := b.measure(t.Context(), unresumed, s); err == nil || !strings.Contains(err.Error(), "0 of 50 TLS sessions were resumed") {
		t.Errorf("without TLS: error %v", err)
	}
}

// TestProbes runs the probes of one store, with few messages.
func TestProbes(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real servers")
	}
	test.Need(t, "smtp-source")
	o := options{rounds: 1, messages: 100, budget: time.Minute, probes: true, rows: 1000, soak: 1,
		cases: []string{"C"}, contestants: []string{"goguerrillad-sqlite"}}
	var out, log strings.Builder
	if err := run(t.Context(), o, &out, &log); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	for _, want := range []string{"commit of such a row", "commit after a pause", "99th percentile", "A with 40 sessions", "a connection after EHLO, plain", "inside TLS", "A with 1000 more rows", "memory after"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
}

// TestReceiver: the receiver counts messages, not the checks of the daemon.
func TestReceiver(t *testing.T) {
	receiver := newReceiver()
	request := func(method string) string {
		w := httptest.NewRecorder()
		receiver.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/", strings.NewReader("x")))
		return w.Body.String()
	}
	request(http.MethodPost)
	request(http.MethodHead)
	request(http.MethodPost)
	if got := request(http.MethodGet); got != "2" {
		t.Errorf("after two POSTs and a HEAD, the receiver counts %s messages, want 2", got)
	}
}

// TestMeasure compares acknowledged messages with the rows that a fake store reports.
func TestMeasure(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real servers")
	}
	test.Need(t, "smtp-source")
	client, err := test.LookPath("smtp-source")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sink := newSink()
	go sink.Serve(l)
	defer sink.Close()
	for _, test := range []struct {
		name    string
		rows    int // that each measurement adds
		entries int // in the log that each measurement adds
		size    int
		want    string // in the error; "" = no error
	}{
		{"all stored", 50, 50, 500, ""},
		{"one lost", 49, 50, 500, "messages were acknowledged for 50 recipients, 49 rows are in the store"},
		{"one stored twice", 51, 50, 500, "messages were acknowledged for 50 recipients, 51 rows are in the store"},
		{"one not logged", 50, 49, 500, "50 messages were acknowledged, 49 entries are in the log"},
		{"refused", 0, 0, maxMessage + 1_000_000, "smtp-source"},
	} {
		t.Run(test.name, func(t *testing.T) {
			rows, entries := 1000-test.rows, 2000-test.entries
			s := &server{addr: l.Addr().String(), pids: []int{os.Getpid()}, journald: os.Getpid(), output: func() string { return "its log" },
				network: []string{"env", "--"},
				rows:    func(context.Context) (int, error) { rows += test.rows; return rows, nil },
				entries: func(context.Context) (int, error) { entries += test.entries; return entries, nil }}
			b := &bench{client: client, log: t.Logf}
			got, err := b.measure(t.Context(), workload{Name: "A", Size: test.size, Messages: 50, Sessions: 5}, s)
			if test.want == "" {
				if err != nil || got.Journald != got.ServerCPU { // it is the only process
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "its log") {
				t.Errorf("error %v; want one with %q and the log", err, test.want)
			}
		})
	}
}
