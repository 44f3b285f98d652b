package main

import (
	"math"
	"os"
	"testing"
	"time"
)

func TestParseMachineCPU(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       time.Duration // 0: an error
	}{
		{"interrupts charged to processes", "cpu  100 20 30 4000 50 0 60 7 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n", 2170 * time.Millisecond},
		{"interrupts measured separately", "cpu  100 20 30 4000 50 9 60 7 0 0\n", 1570 * time.Millisecond},
		{"guest is part of user", "cpu  100 0 0 0 0 1 0 0 80 0\n", time.Second},
		{"no steal", "cpu  100 20 30 4000 50 0 60\n", 0},
		{"one processor", "cpu0 100 20 30 4000 50 0 60 7 0 0\n", 0},
		{"no number", "cpu  a 20 30 4000 50 0 60 7 0 0\n", 0},
		{"empty", "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseMachineCPU(test.text)
			if got != test.want || (err != nil) != (test.want == 0) {
				t.Errorf("got %v, %v; want %v", got, err, test.want)
			}
		})
	}
}

func TestParseProcessCPU(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       time.Duration // 0: an error
	}{
		{"plain", "12 (mariadbd) S 1 2 3 0 -1 4 5 6 7 8 150 50 3 2 20 0 30 0", 2050 * time.Millisecond},
		{"name with parentheses", "12 (a) R (b) S 1 2 3 0 -1 4 5 6 7 8 150 50 0 0 20 0 30 0", 2 * time.Second},
		{"short", "12 (mariadbd) S 1 2 3", 0},
		{"negative", "12 (mariadbd) S 1 2 3 0 -1 4 5 6 7 8 -150 50 3 2 20 0", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseProcessCPU(test.text)
			if got != test.want || (err != nil) != (test.want == 0) {
				t.Errorf("got %v, %v; want %v", got, err, test.want)
			}
		})
	}
}

func TestForeign(t *testing.T) {
	at := func(machine, server, own float64) reading {
		second := float64(time.Second)
		return reading{time.Duration(machine * second), time.Duration(server * second), time.Duration(own * second)}
	}
	for _, test := range []struct {
		name          string
		before, after reading
		want          float64
	}{
		// Two processors for 1 s, of which the client used 0.7 s.
		{"no other process", at(10, 3, 1), at(11.8, 4, 1.1), 0},
		{"half a processor", at(10, 3, 1), at(12, 3.7, 1.1), 0.25},
		{"inconsistent readings", at(10, 3, 1), at(11, 4, 1), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := foreign(test.before, test.after, 700*time.Millisecond, time.Second, 2)
			if math.Abs(got-test.want) > 1e-9 {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// TestReadProc reads the real files of /proc.
func TestReadProc(t *testing.T) {
	pids := []int{os.Getpid()}
	cpu := (&server{pids: pids}).cpu
	before, err := readCPU(cpu)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		after, err := readCPU(cpu)
		if err != nil {
			t.Fatal(err)
		}
		if after.server > before.server && after.own > before.own && after.machine > before.machine {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("CPU time after 10 s of work: %v, then %v", before, after)
		}
	}
	if rss, err := peakRSS(pids); err != nil || rss < 1<<20 {
		t.Errorf("peak RSS %d, %v", rss, err)
	}
	if _, err := processCPU([]int{-1}); err == nil {
		t.Error("no error for a process that does not exist")
	}
}

func TestKilobytes(t *testing.T) {
	const status = "Name:\tbench\nVmPeak:\t 900 kB\nVmHWM:\t  1234 kB\n"
	if got := kilobytes(status, "VmHWM"); got != 1234 {
		t.Errorf("got %d, want 1234", got)
	}
	if got := kilobytes(status, "VmSwap"); got != 0 {
		t.Errorf("got %d, want 0", got)
	}
}
