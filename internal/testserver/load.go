package testserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Load is clients that send mail as fast as they are let, and remember what
// has been acknowledged. Each message has a sender of its own, by which its
// rows are found whatever became of it; none is sent twice.
type Load struct {
	name  string
	addrs []string // servers, among whom the clients are dealt out

	cancel  context.CancelFunc // nil while nobody sends
	clients sync.WaitGroup
	sent    [loadClients]int // by each client
	acks    atomic.Int64

	mu        sync.Mutex
	tried     map[string]int      // sender: number of recipients
	acked     map[string]string   // sender: hash of the reply
	rows      map[string][]string // sender: hashes that Collect has found
	deferred  map[string]bool     // senders who have received 4xx
	temporary int                 // replies 4xx
	broken    int                 // connections that failed or ended
	refused   map[string]int      // other replies
	last      time.Time           // of an acknowledgement, or of Resume
	silence   time.Duration       // the longest between two of them
}

const (
	loadClients  = 8
	loadPatience = 30 * time.Second      // for one reply
	loadPause    = 10 * time.Millisecond // after what did not work
)

// loadDomain is where all senders are; mail from elsewhere is somebody else's.
const loadDomain = "load.example"

// StartLoad sends until Pause.
func StartLoad(addrs ...string) *Load {
	l := &Load{name: rand.Text()[:8], addrs: addrs, tried: make(map[string]int), acked: make(map[string]string),
		rows: make(map[string][]string), refused: make(map[string]int), deferred: make(map[string]bool)}
	l.Resume()
	return l
}

// Resume sends again after Pause.
func (l *Load) Resume() {
	ctx, cancel := context.WithCancel(context.Background())
	l.mu.Lock()
	l.last = time.Now()
	l.mu.Unlock()
	l.cancel = cancel
	for i := range loadClients {
		l.clients.Go(func() {
			for ctx.Err() == nil {
				if err := l.session(ctx, i); err == nil {
					continue
				}
				select { // nobody listens between two lives
				case <-ctx.Done():
				case <-time.After(loadPause):
				}
			}
		})
	}
}

// Pause waits until every client has ended its message.
func (l *Load) Pause() {
	if l.cancel == nil {
		return
	}
	l.cancel()
	l.clients.Wait()
	l.cancel = nil
}

var errNotTaken = errors.New("not taken")

// session sends on one connection until something does not work or ctx is done.
func (l *Load) session(ctx context.Context, client int) error {
	c, err := Connect(l.addrs[client%len(l.addrs)], loadPatience)
	if err == nil {
		defer c.Close()
		err = c.Hello()
	}
	for err == nil && ctx.Err() == nil {
		err = l.message(c, client)
	}
	if err == nil {
		_, err = c.Expect(221, "QUIT")
	}
	if err != nil && !errors.Is(err, errNotTaken) {
		l.mu.Lock()
		l.broken++
		l.mu.Unlock()
	}
	return err
}

// message sends one, to one to three recipients; some are of 32 KB.
func (l *Load) message(c *Client, client int) error {
	size := 0
	if (l.sent[client]+1)%20 == 0 {
		size = 32_000
	}
	code, err := l.send(c, client, size)
	if err == nil && code/100 != 2 {
		err = errNotTaken
	}
	return err
}

// Send sends one message, with size bytes of text in addition, on a connection
// of its own, and returns the code of the reply. Clients must not send at the
// same time.
func (l *Load) Send(size int) (code int, err error) {
	c, err := Connect(l.addrs[0], loadPatience)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.Hello(); err != nil {
		return 0, err
	}
	return l.send(c, 0, size)
}

func (l *Load) send(c *Client, client, size int) (code int, err error) {
	l.sent[client]++
	n := l.sent[client]
	from := fmt.Sprintf("%s-%d-%d@%s", l.name, client, n, loadDomain)
	to := []string{"one@example.com", "two@example.com", "three@example.com"}[:1+n%3]
	text := []byte("Subject: " + from + "\r\n\r\n" + from + "\r\n")
	text = append(text, bytes.Repeat([]byte("0123456789abcdef0123456789abcd\r\n"), size/32)...)
	l.mu.Lock()
	l.tried[from] = len(to)
	l.mu.Unlock()
	r, err := c.Send(from, "", to, text)
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch r.Code / 100 {
	case 2:
		l.acked[from] = r.Hash()
		l.silence = max(l.silence, time.Since(l.last))
		l.last = time.Now()
		l.acks.Add(1)
	case 4:
		l.temporary++
		l.deferred[from] = true
	default:
		l.refused[r.String()]++
	}
	return r.Code, nil
}

// Acks returns how many messages have been acknowledged.
func (l *Load) Acks() int64 { return l.acks.Load() }

// AwaitAcks waits for n more acknowledged messages.
func (l *Load) AwaitAcks(t T, n int64) {
	t.Helper()
	want := l.Acks() + n
	Await(t, nil, 2*time.Minute, "mail is taken", func() error {
		if got := l.Acks(); got < want {
			return fmt.Errorf("%d messages acknowledged, want %d", got, want)
		}
		return nil
	})
}

// AwaitRefusal waits until one more message is not taken, for whatever reason.
func (l *Load) AwaitRefusal(t T) {
	t.Helper()
	failures := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.temporary + l.broken
	}
	before := failures()
	Await(t, nil, time.Minute, "all mail is taken", func() error {
		if failures() == before {
			return errors.New("nothing is refused")
		}
		return nil
	})
}

// Silence returns the longest time without an acknowledgement, this moment
// included, since it was asked last.
func (l *Load) Silence() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	silence := max(l.silence, time.Since(l.last))
	l.silence = 0
	return silence
}

// Collect takes the rows out of a table, so that it stays small, and keeps
// their hashes. Mail that others have sent is taken away unseen.
func (l *Load) Collect(t T, db *sql.DB, table string) {
	t.Helper()
	Await(t, nil, serverStart, "the rows cannot be read", func() error {
		newest, rows, err := readHashes(db, table)
		if err != nil {
			return err
		}
		if _, err := db.Exec("DELETE FROM "+table+" WHERE mail_id <= ?", newest); err != nil {
			return fmt.Errorf("delete what was read: %w", err)
		}
		l.Add(rows)
		return nil
	})
}

// Replace takes note of all rows, as hashes by sender, in place of those that
// were noted so far.
func (l *Load) Replace(rows map[string][]string) {
	l.mu.Lock()
	clear(l.rows)
	l.mu.Unlock()
	l.Add(rows)
}

// Hashes returns the hashes of all rows of a table, by sender.
func Hashes(db *sql.DB, table string) (map[string][]string, error) {
	_, hashes, err := readHashes(db, table)
	return hashes, err
}

// Add takes note of rows, as hashes by sender, that somebody else has read.
func (l *Load) Add(rows map[string][]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for from, hashes := range rows {
		if strings.HasSuffix(from, "@"+loadDomain) {
			l.rows[from] = append(l.rows[from], hashes...)
		}
	}
}

// CollectMaildir is Collect for a Maildir, of which no file may be half.
func (l *Load) CollectMaildir(t T, dir string) {
	t.Helper()
	rows, paths, err := readMaildir(dir)
	for _, path := range paths {
		err = errors.Join(err, os.Remove(path))
	}
	if err != nil {
		t.Fatalf("read the Maildir: %v", err)
	}
	l.Add(rows)
}

// MaildirHashes is Hashes for a Maildir. It returns what it can read, and an
// error if a file is not whole.
func MaildirHashes(dir string) (map[string][]string, error) {
	rows, _, err := readMaildir(dir)
	return rows, err
}

func readMaildir(dir string) (rows map[string][]string, paths []string, err error) {
	paths, err = filepath.Glob(filepath.Join(dir, "new", "*"))
	rows = make(map[string][]string)
	for _, path := range paths {
		text, failure := os.ReadFile(path)
		_, rest, _ := strings.Cut(filepath.Base(path), "_")
		hash, size, _ := strings.Cut(rest, ".goguerrilla,S=")
		if failure == nil && size != strconv.Itoa(len(text)) {
			failure = fmt.Errorf("%s has %d bytes", path, len(text))
		}
		if failure != nil {
			err = errors.Join(err, failure)
			continue
		}
		from, _, _ := strings.Cut(strings.TrimPrefix(string(text), "Return-Path: <"), ">")
		rows[from] = append(rows[from], hash)
	}
	return rows, paths, err
}

// readHashes returns the hashes of all rows by sender, and the newest row; of a
// table that is damaged those that it can read.
func readHashes(db *sql.DB, table string) (newest int64, hashes map[string][]string, err error) {
	found, err := db.Query("SELECT mail_id, `from`, hash FROM " + table)
	if err != nil {
		return 0, nil, fmt.Errorf("read the rows: %w", err)
	}
	defer found.Close()
	hashes = make(map[string][]string)
	for found.Next() {
		var id int64
		var from, hash string
		if err := found.Scan(&id, &from, &hash); err != nil {
			return 0, hashes, fmt.Errorf("read a row: %w", err)
		}
		newest = max(newest, id)
		hashes[from] = append(hashes[from], hash)
	}
	if err := found.Err(); err != nil {
		return 0, hashes, fmt.Errorf("read the rows: %w", err)
	}
	return newest, hashes, nil
}

// An Audit is what became of all messages, as far as Collect has seen rows.
type Audit struct {
	Tried, Acknowledged, Stored int
	Lost                        int // acknowledged, and not all rows are there
	Doubled                     int // more rows than recipients, or a hash twice
	Partial                     int // some rows, not all
	Strange                     int // rows that nobody sent
	Unasked                     int // stored, though the client was told otherwise or nothing
	Deferred                    int // of these, whose client has received 4xx
	Temporary, Broken           int
	Refused                     map[string]int // replies 5xx
}

// Wrong says what must never be, "" when nothing is.
func (a Audit) Wrong() string {
	if a.Lost+a.Doubled+a.Partial+a.Strange+len(a.Refused) == 0 {
		return ""
	}
	return fmt.Sprintf("%d acknowledged and lost, %d doubled, %d stored in part, %d from nowhere, refused for good: %v",
		a.Lost, a.Doubled, a.Partial, a.Strange, a.Refused)
}

// Audit compares the rows that were collected with what the clients know.
func (l *Load) Audit() Audit {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := Audit{Tried: len(l.tried), Acknowledged: len(l.acked), Stored: len(l.rows),
		Temporary: l.temporary, Broken: l.broken, Refused: l.refused}
	seen := make(map[string]bool)
	for from, hashes := range l.rows {
		want, known := l.tried[from]
		switch {
		case !known:
			a.Strange++
		case len(hashes) > want:
			a.Doubled++
		case len(hashes) < want:
			a.Partial++
		case l.acked[from] == "":
			a.Unasked++
			if l.deferred[from] {
				a.Deferred++
			}
		}
		for _, h := range hashes {
			if seen[h] {
				a.Doubled++
			}
			seen[h] = true
		}
	}
	for from, hash := range l.acked {
		if len(l.rows[from]) < l.tried[from] || !seen[hash] {
			a.Lost++
		}
	}
	return a
}
