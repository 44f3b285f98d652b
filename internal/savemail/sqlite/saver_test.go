package sqlite_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/sqlite"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/powerfs"
	"goguerrillad/internal/test/storetest"
)

// saverFile is an environment variable that makes the test binary a saver: a
// process that saves messages. It must not be the process that serves the file
// system (package powerfs).
const saverFile = "SAVER_FILE"

func TestMain(m *testing.M) {
	if file := os.Getenv(saverFile); file != "" {
		saveLines(file)
		return
	}
	os.Exit(m.Run())
}

// saveLines reads sizes from standard input, one per line, and saves a message of each
// size. It prints the hash, the outcome and the error, and logs to standard error. With a
// message of size 0 it saves an old message, which it deletes before the next one.
func saveLines(file string) {
	s := sqlite.New(sqlite.Options{File: file, Table: "new_mail", Log: slog.New(slog.NewJSONHandler(os.Stderr, nil))})
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		size, _ := strconv.Atoi(lines.Text())
		e := storetest.Envelope(text+strings.Repeat("x", size), "b@example.com")
		batch := []*envelope.Envelope{e}
		if size == 0 {
			if _, err := s.Expire(ctx, time.Now().Add(-time.Hour)); err != nil {
				fmt.Fprintf(os.Stderr, "{\"Msg\":%q}\n", err.Error())
			}
			old := storetest.Envelope(text, "old@example.com")
			old.Date = time.Now().Add(-2 * time.Hour)
			batch = append(batch, old)
		}
		err := s.Save(ctx, batch)[0]
		cancel()
		outcome := "stored"
		switch {
		case errors.Is(err, savemail.ErrUnknown):
			outcome = "unknown"
		case err != nil:
			outcome = "failed"
		}
		fmt.Println(e.To[0].Hash, outcome, fmt.Sprintf("%q", fmt.Sprint(err)))
	}
	if err := s.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// A saver is a process that runs saveLines.
type saver struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	log test.Log

	last string // error of the last message
}

// startSaver starts a saver, which is killed at the end of the test.
func startSaver(t *testing.T, file string) *saver {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	s := &saver{cmd: cmd}
	cmd.Env, cmd.Stderr = append(os.Environ(), saverFile+"="+file), &s.log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.in, s.out = in, bufio.NewReader(out)
	t.Cleanup(s.kill)
	return s
}

func (s *saver) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// save saves a message of this size and returns its hash and its outcome.
func (s *saver) save(t *testing.T, size int) (hash, outcome string) {
	t.Helper()
	fmt.Fprintln(s.in, size)
	line, err := s.out.ReadString('\n')
	if err != nil {
		t.Fatalf("read the outcome: %v\n%s", err, s.log.String())
	}
	words := strings.SplitN(line, " ", 3)
	if s.last != words[2] { // repeated during the backoff
		t.Logf("%s: %s", words[1], words[2])
	}
	s.last = words[2]
	return words[0], words[1]
}

// settled returns the log message for each hash whose outcome was unknown.
func (s *saver) settled(t *testing.T) map[string]string {
	t.Helper()
	messages := map[string]string{}
	for line := range strings.Lines(s.log.String()) {
		var entry struct {
			Msg    string
			Hashes []string
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("decode the log line %s: %v", line, err)
		}
		for _, hash := range entry.Hashes {
			messages[hash] = entry.Msg
		}
	}
	return messages
}

// saveWithFault saves messages of this size with an active fault until ok accepts an
// outcome. It returns the hash of the last message and the active fault. Before each
// attempt it saves another message without the fault, since opening the file can take
// the whole time of a Save.
func (s *saver) saveWithFault(t *testing.T, power *powerfs.FS, f powerfs.Fault, size int, ok func(outcome string) bool) (hash string, fault *powerfs.Injection) {
	t.Helper()
	test.Await(t, nil, time.Minute, "no Save has the expected outcome", func() error {
		if _, outcome := s.save(t, 0); outcome != "stored" {
			return errors.New(s.last)
		}
		fault = power.Inject(f)
		var outcome string
		if hash, outcome = s.save(t, size); !ok(outcome) {
			fault.Clear()
			return errors.New(s.last)
		}
		return nil
	})
	return hash, fault
}
