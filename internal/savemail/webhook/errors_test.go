package webhook_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/test/storetest"
)

// TestErrorsWithoutSecrets: no error contains a secret of the URL, since the daemon
// logs the errors.
func TestErrorsWithoutSecrets(t *testing.T) {
	_, other := receive(t, func(http.ResponseWriter, *http.Request) {})
	garbage, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer garbage.Close()
	go func() {
		for {
			c, err := garbage.Accept()
			if err != nil {
				return
			}
			bufio.NewReader(c).ReadString('\n')
			c.Write([]byte("garbage\r\n\r\n"))
			c.Close()
		}
	}()
	const secret = "/T0ken?key=T0ken"
	for _, tt := range []struct {
		name, url string
		want      error
	}{
		{"unknown certificate", other.URL + secret, savemail.ErrUnavailable},
		{"garbage", "http://user:T0ken@" + garbage.Addr().String() + secret, savemail.ErrUnknown},
		{"no listener", "http://user:T0ken@127.0.0.1:1" + secret, savemail.ErrUnavailable},
		{"malformed URL", "http://user:T0ken@127.0.0.1/%" + secret, savemail.ErrUnavailable},
	} {
		s := open(t, tt.url, nil)
		err := save(t, s, storetest.Envelope("Subject: x\r\n\r\n", "b@example.com"), 2*time.Second)
		if !errors.Is(err, tt.want) || errors.Is(err, savemail.ErrUnknown) != (tt.want == savemail.ErrUnknown) {
			t.Errorf("%s: outcome %v, want %v", tt.name, err, tt.want)
		}
		checkErr := s.Check(t.Context())
		if !errors.Is(checkErr, savemail.ErrUnavailable) {
			t.Errorf("%s: Check returns %v, want %v", tt.name, checkErr, savemail.ErrUnavailable)
		}
		for _, err := range []error{err, checkErr} {
			if strings.Contains(fmt.Sprint(err), "T0ken") {
				t.Errorf("%s: the error contains the secret: %v", tt.name, err)
			}
		}
	}
}

// TestLongStatus: the error contains only the beginning of a long status line.
func TestLongStatus(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 503 %s\r\nContent-Length: 0\r\n\r\n", strings.Repeat("no ", 4000))
		c.Close()
	}))
	defer server.Close()
	err := save(t, open(t, server.URL, nil), storetest.Envelope("Subject: x\r\n\r\n", "b@example.com"), 5*time.Second)
	if !errors.Is(err, savemail.ErrUnavailable) || !strings.Contains(err.Error(), "503 no no") {
		t.Fatalf("outcome %.400v, want %v with the status", err, savemail.ErrUnavailable)
	}
	if n := len(err.Error()); n > 300 {
		t.Errorf("the error has %d bytes, want at most 300: %.400v", n, err)
	}
}
