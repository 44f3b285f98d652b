package pgproxy

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// A link is the connection of one client and the connection to the server for it.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	fromClient     *bufio.Reader
	fromServer     *bufio.Reader
	statements     map[string]string // by their names

	mu      sync.Mutex
	open    []*exchange // without a complete response, oldest first
	newest  *exchange
	silent  bool          // discard all later responses
	mute    bool          // discard all later requests, or hold them
	held    []byte        // for the server
	release chan struct{} // nil without Hold
	late    sync.WaitGroup
	deliver bool // the server has received what was held
}

// An exchange is an Exchange that has begun.
type exchange struct {
	Exchange
	fault  *Fault
	closed bool // the next message of the client begins another request
	sent   int  // messages of the request
}

var errCut = errors.New("cut")

func (p *Proxy) serve(ctx context.Context, client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", *p.server.Load())
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() {
		client.Close()
		server.Close()
	})()
	l := &link{
		proxy: p, client: client, server: server, fromClient: bufio.NewReaderSize(client, 64<<10),
		fromServer: bufio.NewReaderSize(server, 64<<10), statements: map[string]string{},
	}
	first, err := l.negotiate()
	if err != nil {
		return
	}
	var replies sync.WaitGroup
	replies.Go(func() {
		if first == nil {
			io.Copy(client, l.fromServer) // TLS
		} else {
			l.replies()
		}
		client.Close()
		server.Close()
	})
	if first == nil {
		io.Copy(server, l.fromClient)
	} else if l.pass([][]byte{first}) == nil {
		l.requests()
	}
	client.Close()
	l.late.Wait() // with Hold, the server's connection stays open after the client's
	if !l.deliver {
		// Close the connection to the server even if the server has not replied yet.
		server.Close()
	}
	replies.Wait()
}

// Codes at the beginning of a connection.
const (
	cancelRequest = 80877102
	sslRequest    = 80877103
	gssRequest    = 80877104
)

// negotiate forwards the requests for encryption and returns the message that begins a
// login, with a type. It returns nil if the connection is encrypted.
func (l *link) negotiate() ([]byte, error) {
	for {
		m, err := readBody(l.fromClient, []byte{startup})
		if err != nil || len(m) < header+4 {
			return nil, errors.Join(err, errMessage)
		}
		code := binary.BigEndian.Uint32(m[header:])
		if code != sslRequest && code != gssRequest && code != cancelRequest {
			return m, nil
		}
		if _, err := l.server.Write(m[1:]); err != nil {
			return nil, err
		}
		if code == cancelRequest {
			_, err := l.fromServer.ReadByte() // the server closes the connection
			return nil, errors.Join(err, io.EOF)
		}
		answer, err := l.fromServer.ReadByte()
		if err != nil {
			return nil, err
		}
		if _, err := l.client.Write([]byte{answer}); err != nil {
			return nil, err
		}
		if answer != 'N' {
			return nil, nil
		}
	}
}

// requests forwards the messages of the client until the connection ends.
func (l *link) requests() {
	for {
		messages, err := readSegment(l.fromClient)
		if err != nil || messages[0][0] == 'X' || l.pass(messages) != nil {
			return // the server notices the end as it does for a Terminate (X)
		}
	}
}

// begin returns the exchange to which messages belong. It decides on the fault.
func (l *link) begin(messages [][]byte) *exchange {
	l.mu.Lock()
	e := l.newest
	continued := strings.IndexByte("dcfp", messages[0][0]) >= 0
	if e == nil || e.closed && !continued {
		e = &exchange{}
		l.newest = e
		l.open = append(l.open, e)
	}
	e.examine(messages, l.statements)
	if first := messages[0]; first[0] == startup {
		e.Executed = append(e.Executed, "startup "+strings.ReplaceAll(string(first[header+4:]), "\x00", " "))
	}
	e.closed = strings.IndexByte("SQF", e.Messages[len(e.Messages)-1]) >= 0
	undecided, r := e.fault == nil && !continued, e.Request
	l.mu.Unlock()
	if undecided {
		f := l.proxy.decide(r)
		l.mu.Lock()
		e.fault = f
		l.mu.Unlock()
	}
	return e
}

// pass forwards messages of the client up to a fault.
func (l *link) pass(messages [][]byte) error {
	e := l.begin(messages)
	l.mu.Lock()
	f, sent, complete, mute := e.fault, e.sent, e.complete(), l.mute
	e.sent += len(messages)
	l.mu.Unlock()
	if mute {
		l.keep(messages)
		return nil
	}
	var out []byte
	for i, m := range messages {
		if m[0] == startup {
			m = m[1:]
		}
		if f == nil || f.Request == All || sent+i < f.Request {
			out = append(out, m...)
			continue
		}
		half := 0
		if f.Half {
			half = len(m) / 2
		}
		return l.breakRequest(f, append(out, m[:half]...), append([][]byte{m[half:]}, messages[i+1:]...))
	}
	if _, err := l.server.Write(out); err != nil {
		return err
	}
	if f != nil && f.Request == All && f.Early && complete {
		l.proxy.happened(f)
		return l.cut(f)
	}
	return nil
}

// breakRequest forwards out and applies a fault to the rest of a request.
func (l *link) breakRequest(f *Fault, out []byte, rest [][]byte) error {
	time.Sleep(f.Delay) // simulates a slow network
	defer l.proxy.happened(f)
	if _, err := l.server.Write(out); err != nil {
		return err
	}
	switch {
	case f.Hold:
		l.hold()
		fallthrough
	case f.Hang:
		l.mu.Lock()
		l.mute = true
		l.mu.Unlock()
		l.keep(rest)
		return nil
	}
	return l.cut(f)
}

// keep adds messages to those that a connection with Hold holds.
func (l *link) keep(messages [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.release == nil {
		return
	}
	for _, m := range messages {
		l.held = append(l.held, m...)
	}
}

// executeTime bounds the time in which a server executes a held request.
const executeTime = 20 * time.Second

// hold keeps the connection to the server until Release.
func (l *link) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.release != nil {
		return
	}
	l.proxy.mu.Lock()
	release := l.proxy.release
	l.proxy.mu.Unlock()
	l.release = release
	l.late.Go(func() {
		<-release
		l.proxy.mu.Lock()
		deliver := l.proxy.deliver
		l.proxy.mu.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if deliver {
			l.deliver = true
			l.server.Write(l.held)
			// The server executes what it has received before it notices the end.
			l.server.(*net.TCPConn).CloseWrite()
			l.server.SetReadDeadline(time.Now().Add(executeTime))
		}
		l.client.Close()
	})
}

// cut ends both connections.
func (l *link) cut(f *Fault) error {
	if f.Reset {
		for _, c := range []net.Conn{l.client, l.server} {
			c.(*net.TCPConn).SetLinger(0)
		}
	}
	return errCut
}
