package faults

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/test/daemon"
)

// A receiver takes posts, and keeps of each mail its id, once.
type receiver struct {
	mu    sync.Mutex
	ails  func(w http.ResponseWriter, r *http.Request, keep func()) // nil: it answers 204
	seen  map[string]bool
	fresh map[string][]string // ids by sender, one for each recipient, since the last taken
}

func (v *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		return
	}
	var e struct {
		From       string
		Recipients []string
	}
	if err := json.Unmarshal([]byte(r.FormValue("envelope")), &e); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if file, _, err := r.FormFile("mail"); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	} else if _, err := io.Copy(io.Discard, file); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id := r.Header.Get("webhook-id")
	keep := func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.seen[id] {
			return
		}
		v.seen[id] = true
		v.fresh[e.From] = append(v.fresh[e.From], id)
		for i := range e.Recipients[1:] {
			v.fresh[e.From] = append(v.fresh[e.From], fmt.Sprintf("%s-%d", id, i))
		}
	}
	v.mu.Lock()
	ails := v.ails
	v.mu.Unlock()
	if ails != nil {
		ails(w, r, keep)
		return
	}
	keep()
	w.WriteHeader(http.StatusNoContent)
}

// take returns what has arrived since it was asked last.
func (v *receiver) take() map[string][]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	fresh := v.fresh
	v.fresh = map[string][]string{}
	return fresh
}

// fault is one that lasts for a while, and is noticed.
func (v *receiver) fault(w *world, name string, ails func(http.ResponseWriter, *http.Request, func())) fault {
	set := func(f func(http.ResponseWriter, *http.Request, func())) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.ails = f
	}
	return fault{
		name: name, subject: "receiver", times: 20,
		ail:  func(*testing.T) { set(ails) },
		hold: func() time.Duration { return between(w.rand, 0, 3*time.Second) },
		mend: func(*testing.T) { set(nil) },
	}
}

// TestFaultsWebhook: a mail that was acknowledged has arrived, whatever the
// receiver does, and however the daemon ends between a POST and its answer.
func TestFaultsWebhook(t *testing.T) {
	v := &receiver{seen: map[string]bool{}, fresh: map[string][]string{}}
	d := shared.Daemon(t, nil)
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	d.Configure(t, map[string]string{"GM_SAVE_MAIL": "webhook", "WEBHOOK_URL": server.URL, "GSMTP_TIMEOUT": "5"})
	d.Start(t)
	w := &world{whole: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, other: v.take}
	w.startLoad(t)
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	faults := []fault{
		v.fault(w, "receiver answers 500", func(w http.ResponseWriter, _ *http.Request, _ func()) { w.WriteHeader(500) }),
		v.fault(w, "receiver answers 301", func(w http.ResponseWriter, r *http.Request, _ func()) {
			http.Redirect(w, r, "/elsewhere", http.StatusMovedPermanently)
		}),
		v.fault(w, "receiver hangs", func(w http.ResponseWriter, r *http.Request, _ func()) { hang(w, r) }),
		v.fault(w, "receiver keeps the mail and hangs", func(w http.ResponseWriter, r *http.Request, keep func()) {
			keep()
			hang(w, r)
		}),
		v.fault(w, "receiver keeps the mail and closes", func(_ http.ResponseWriter, _ *http.Request, keep func()) {
			keep()
			panic(http.ErrAbortHandler)
		}),
		v.fault(w, "receiver ends all connections", func(_ http.ResponseWriter, _ *http.Request, keep func()) {
			keep()
			server.CloseClientConnections()
		}),
	}
	w.run(t, slices.Concat(faults, []fault{{
		name: "daemon killed", subject: "daemon", times: 200,
		ail:  func(*testing.T) { d.Kill() },
		mend: func(t *testing.T) { d.Start(w.whole) },
	}}))
}
