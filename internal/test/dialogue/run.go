package dialogue

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Options are the options of Run.
type Options struct {
	// StartTLS completes the handshake and returns the connection inside TLS.
	StartTLS func(io.ReadWriter) (io.ReadWriter, error)
	// Inside means that Run sends STARTTLS after the greeting, and the rest of the script
	// inside TLS.
	Inside bool
	// Stored returns the committed messages of this script, in order. Run calls it
	// at the end of the dialogue.
	Stored func() []Message
}

// Run runs the script as the client on a new connection, and compares the replies
// and the stored messages. Consecutive lines of the client are one Write. "C close"
// calls CloseWrite of the connection; "S close" expects io.EOF or a reset at Read.
// The caller sets deadlines.
func (s *Script) Run(t testing.TB, conn io.ReadWriter, o Options) {
	t.Helper()
	r := &run{t: t, script: s, options: o, conn: conn, in: bufio.NewReader(conn)}
	steps := s.steps
	if o.Inside {
		r.do(steps[0]) // the greeting
		steps = steps[1:]
		r.startTLS()
	}
	for _, st := range steps {
		r.do(st)
	}
	r.do(step{act: flush})
	if o.Stored != nil {
		s.compare(t, o.Stored())
	}
}

// A run is one run of a script.
type run struct {
	t       testing.TB
	script  *Script
	options Options
	conn    io.ReadWriter
	in      *bufio.Reader
	out     []byte // to write before the next step that does not send
}

func (r *run) fail(st step, format string, args ...any) {
	r.t.Helper()
	r.t.Fatalf("%s.txt:%d: "+format, append([]any{r.script.Name, st.line}, args...)...)
}

func (r *run) do(st step) {
	r.t.Helper()
	if st.act == send {
		r.out = append(r.out, st.data...)
		return
	}
	if len(r.out) > 0 {
		_, err := r.conn.Write(r.out)
		r.out = nil
		if err != nil && st.act != expectClose && !closed(err) {
			r.fail(st, "write: %v", err)
		}
	}
	switch st.act {
	case expect:
		got, err := r.in.ReadString('\n')
		if err != nil {
			r.fail(st, "got %q and %v, want %q", got, err, st.text)
		}
		line, crlf := strings.CutSuffix(got, "\r\n")
		if !crlf || !st.want.MatchString(line) {
			r.fail(st, "got %q, want %q", got, st.text)
		}
	case handshake:
		r.handshake(st)
	case closeWriting:
		half, ok := r.conn.(interface{ CloseWrite() error })
		if !ok {
			r.fail(st, "the connection lacks CloseWrite")
		}
		if err := half.CloseWrite(); err != nil {
			r.fail(st, "close: %v", err)
		}
	case expectClose:
		if rest, err := io.ReadAll(r.in); len(rest) > 0 || err != nil && !closed(err) {
			r.fail(st, "got %q and %v, want the end of the connection", rest, err)
		}
	}
}

// closed reports whether an error means that the server has closed the connection.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// handshake continues inside TLS. It requires that the server has sent no clear text after
// its reply.
func (r *run) handshake(st step) {
	r.t.Helper()
	if n := r.in.Buffered(); n > 0 {
		rest, _ := r.in.Peek(n)
		r.fail(st, "got %q in clear before the handshake", rest)
	}
	conn, err := r.options.StartTLS(r.conn)
	if err != nil {
		r.fail(st, "handshake: %v", err)
	}
	r.conn, r.in = conn, bufio.NewReader(conn)
}

func (r *run) startTLS() {
	r.t.Helper()
	ready, _ := pattern("220 2.0.0 {any}")
	r.do(step{act: send, data: []byte("STARTTLS\r\n")})
	r.do(step{act: expect, want: ready, text: "220 to STARTTLS"})
	r.do(step{act: handshake})
}

// compare compares the stored messages with the expected ones.
func (s *Script) compare(t testing.TB, stored []Message) {
	t.Helper()
	if len(stored) != len(s.Messages) {
		t.Fatalf("%s: %d messages stored, want %d", s.Name, len(stored), len(s.Messages))
	}
	for i, want := range s.Messages {
		got := stored[i]
		if got.From != want.From || !slices.Equal(got.To, want.To) {
			t.Errorf("%s: message %d is from %q to %q, want from %q to %q", s.Name, i+1, got.From, got.To, want.From, want.To)
		}
		if !bytes.Equal(got.Text, want.Text) {
			at := 0
			for at < min(len(got.Text), len(want.Text)) && got.Text[at] == want.Text[at] {
				at++
			}
			t.Errorf("%s: message %d is %d bytes, want %d; at %d it is %.60q, want %.60q", s.Name, i+1,
				len(got.Text), len(want.Text), at, got.Text[at:], want.Text[at:])
		}
	}
}
