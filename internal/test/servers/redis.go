package servers

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"goguerrillad/internal/test"
)

// A RedisServer is a Redis for a test, by default without persistence. It listens on a
// TCP port and on a unix socket, which stay the same after a restart.
type RedisServer struct {
	Addr   string // 127.0.0.1:port
	Socket string // path of the unix socket

	process *test.Process
	dir     string
	options []string
}

// Redis starts a server with additional options of redis-server, such as
// "--requirepass", "secret".
func Redis(t test.T, options ...string) *RedisServer {
	t.Helper()
	test.Need(t, "redis-server")
	dir := test.ShortDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatalf("change the mode of the directory: %v", err)
	}
	r := &RedisServer{
		Addr:    net.JoinHostPort("127.0.0.1", strconv.Itoa(test.FreePort(t))),
		Socket:  filepath.Join(dir, "sock"),
		dir:     dir,
		options: options,
	}
	r.Start(t)
	return r
}

// Start starts the server again after Kill, and waits until it listens.
func (r *RedisServer) Start(t test.T) {
	t.Helper()
	program, err := test.LookPath("redis-server")
	if err != nil {
		t.Fatalf("%v", err)
	}
	_, port, _ := net.SplitHostPort(r.Addr)
	args := append([]string{"--bind", "127.0.0.1", "--port", port, "--unixsocket", r.Socket, "--unixsocketperm", "777",
		"--dir", r.dir, "--save", "", "--daemonize", "no"}, r.options...)
	r.process = test.Start(t, exec.Command(program, args...))
	test.Await(t, r.process, serverStart, "wait for the port of Redis", test.Dial(r.Addr))
}

// Connect returns a connection without authentication.
func (r *RedisServer) Connect(t test.T) redigo.Conn {
	t.Helper()
	c, err := redigo.Dial("tcp", r.Addr, redigo.DialReadTimeout(10*time.Second))
	if err != nil {
		t.Fatalf("connect to Redis: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Kill ends the server with SIGKILL.
func (r *RedisServer) Kill() { r.process.Kill() }

// Pause pauses the server, as Process.Pause does.
func (r *RedisServer) Pause(t test.T) { t.Helper(); r.process.Pause(t) }

// Continue continues a paused server.
func (r *RedisServer) Continue(t test.T) { t.Helper(); r.process.Continue(t) }
