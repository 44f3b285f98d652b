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

// A receiver receives the requests of the webhook and records the id of each message
// once.
type receiver struct {
	mu      sync.Mutex
	respond respondFunc // nil: record the message and reply 204
	seen    map[string]bool
	untaken map[string][]string // ids by sender, one per recipient, recorded since the last take
}

// A respondFunc responds to a request. It may call record to record the message.
type respondFunc func(w http.ResponseWriter, r *http.Request, record func())

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
	record := func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.seen[id] {
			return
		}
		v.seen[id] = true
		v.untaken[e.From] = append(v.untaken[e.From], id)
		for i := range e.Recipients[1:] {
			v.untaken[e.From] = append(v.untaken[e.From], fmt.Sprintf("%s-%d", id, i))
		}
	}
	v.mu.Lock()
	respond := v.respond
	v.mu.Unlock()
	if respond != nil {
		respond(w, r, record)
		return
	}
	record()
	w.WriteHeader(http.StatusNoContent)
}

// take returns the ids that were recorded since the last call.
func (v *receiver) take() map[string][]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	taken := v.untaken
	v.untaken = map[string][]string{}
	return taken
}

// fault returns a fault of up to 3 s during which the receiver responds with respond.
func (v *receiver) fault(w *faultTest, name string, respond respondFunc) fault {
	set := func(f respondFunc) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.respond = f
	}
	return fault{
		name: name, subject: "receiver", times: 20,
		start:    func(*testing.T) { set(respond) },
		duration: func() time.Duration { return between(w.rand, 0, 3*time.Second) },
		end:      func(*testing.T) { set(nil) },
	}
}

// TestFaultsWebhook: the receiver has every acknowledged message, although the receiver
// fails and the daemon is killed between a POST and its response.
func TestFaultsWebhook(t *testing.T) {
	v := &receiver{seen: map[string]bool{}, untaken: map[string][]string{}}
	d := shared.Daemon(t, nil)
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	d.Configure(t, map[string]string{"GM_SAVE_MAIL": "webhook", "WEBHOOK_URL": server.URL, "GSMTP_TIMEOUT": "5"})
	d.Start(t)
	w := &faultTest{parent: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, take: v.take}
	w.startLoad(t)
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	faults := []fault{
		v.fault(w, "receiver responds 500", func(w http.ResponseWriter, _ *http.Request, _ func()) { w.WriteHeader(500) }),
		v.fault(w, "receiver responds 301", func(w http.ResponseWriter, r *http.Request, _ func()) {
			http.Redirect(w, r, "/elsewhere", http.StatusMovedPermanently)
		}),
		v.fault(w, "receiver hangs", func(w http.ResponseWriter, r *http.Request, _ func()) { hang(w, r) }),
		v.fault(w, "receiver records the message and hangs", func(w http.ResponseWriter, r *http.Request, record func()) {
			record()
			hang(w, r)
		}),
		v.fault(w, "receiver records the message and closes", func(_ http.ResponseWriter, _ *http.Request, record func()) {
			record()
			panic(http.ErrAbortHandler)
		}),
		v.fault(w, "receiver records the message and closes all connections", func(_ http.ResponseWriter, _ *http.Request, record func()) {
			record()
			server.CloseClientConnections()
		}),
	}
	w.run(t, slices.Concat(faults, []fault{{
		name: "daemon killed", subject: "daemon", times: 200,
		start: func(*testing.T) { d.Kill() },
		end:   func(t *testing.T) { d.Start(w.parent) },
	}}))
}
