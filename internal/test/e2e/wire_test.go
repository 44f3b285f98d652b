package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"sync"
	"testing"
)

// A wire is a TCP proxy that keeps what clients send, so that a test can tell
// what a sender really transmitted.
type wire struct {
	addr string

	mu    sync.Mutex
	taken []*recording // by connection
}

type recording struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

func (r *recording) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes.Write(b)
}

func startWire(t *testing.T, server string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: l.Addr().String()}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { w.serve(client, server) })
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return w
}

// serve passes one connection through until the server closes it.
func (w *wire) serve(client net.Conn, addr string) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	rec := &recording{}
	w.mu.Lock()
	w.taken = append(w.taken, rec)
	w.mu.Unlock()
	var up sync.WaitGroup
	up.Go(func() {
		io.Copy(io.MultiWriter(server, rec), client)
		server.(*net.TCPConn).CloseWrite()
	})
	io.Copy(client, server)
	client.Close()
	up.Wait()
}

// sent finds the message to a recipient in what was recorded, and returns it
// as its sender meant it: without transparency dots and chunk boundaries.
func (w *wire) sent(to string) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, rec := range w.taken {
		rec.mu.Lock()
		stream := bytes.Clone(rec.bytes.Bytes())
		rec.mu.Unlock()
		if text, ok := findMessage(stream, to); ok {
			return text, nil
		}
	}
	return nil, fmt.Errorf("no message to %s was seen on the wire", to)
}

// findMessage reads a client's side of a dialogue whose commands have all been
// accepted, in the plainest way, so that it shares no mistake with the daemon.
func findMessage(stream []byte, to string) ([]byte, bool) {
	forThis := false
	var chunks []byte
	for len(stream) > 0 {
		line, rest, _ := bytes.Cut(stream, []byte("\r\n"))
		stream = rest
		verb := string(bytes.ToUpper(bytes.TrimSpace(line)))
		switch chunk := regexp.MustCompile(`^BDAT (\d+)( LAST)?$`).FindStringSubmatch(verb); {
		case bytes.HasPrefix([]byte(verb), []byte("RCPT TO:")):
			forThis = forThis || bytes.Contains(line, []byte("<"+to+">"))
		case chunk != nil:
			n, err := strconv.Atoi(chunk[1])
			if err != nil || n > len(stream) {
				return nil, false
			}
			chunks = append(chunks, stream[:n]...)
			stream = stream[n:]
			if chunk[2] != "" {
				if forThis {
					return chunks, true
				}
				chunks = nil
			}
		case verb == "DATA":
			text, rest, done := cutText(stream)
			if forThis {
				return text, done
			}
			stream = rest
		}
	}
	return nil, false
}

// cutText undoes RFC 5321 section 4.5.2 line by line.
func cutText(stream []byte) (text, rest []byte, done bool) {
	for {
		line, after, ok := bytes.Cut(stream, []byte("\r\n"))
		if !ok {
			return nil, nil, false
		}
		stream = after
		if string(line) == "." {
			return text, stream, true
		}
		text = append(append(text, bytes.TrimPrefix(line, []byte("."))...), "\r\n"...)
	}
}
