package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/box"
)

// BENCH=service measures the service of the package on a booted Debian: the form that the
// package installs, which logs to the journal, and the same service with a log file.
const (
	withJournal = "service, journal"
	withLogFile = "service, log file"
)

func serviceContestants() []contestant {
	return []contestant{
		{withLogFile, "SQLite transaction", plain, func(ctx context.Context, h *harness) *server {
			const file = "/var/lib/goguerrillad/log"
			return startService(ctx, h, map[string]string{"GSMTP_LOG_FILE": file}, "cat "+file)
		}},
		{withJournal, "SQLite transaction", plain, func(ctx context.Context, h *harness) *server {
			return startService(ctx, h, nil, "journalctl --sync && journalctl --unit=goguerrillad.service --output=cat")
		}},
	}
}

// startService boots a Debian 12, installs the package and starts the service. The command
// prints the log.
func startService(ctx context.Context, h *harness, keys map[string]string, log string) *server {
	deb := buildPackage(ctx, h)
	b := box.Start(h, "bookworm")
	if out, err := exec.CommandContext(ctx, "cp", deb, filepath.Join(b.Root, "root")).CombinedOutput(); err != nil {
		h.Fatalf("copy the package: %v\n%s", err, out)
	}
	b.Run(h, "dpkg --install /root/"+filepath.Base(deb))
	b.Configure(h, "/etc/goguerrilla/goguerrilla.conf", map[string]string{"GM_ALLOWED_HOSTS": "example.com", "GSMTP_HOST_NAME": "mx.example.com"})
	b.Configure(h, "/etc/goguerrilla/goguerrilla.conf", keys)
	b.Run(h, "systemctl enable --now goguerrillad.socket && systemctl start goguerrillad.service")

	source := url.URL{Scheme: "file", Path: filepath.Join(b.Root, "var/lib/goguerrillad/mail.db"), RawQuery: "mode=rw&_pragma=busy_timeout(10000)"}
	db, err := sql.Open("sqlite", source.String())
	if err != nil {
		h.Fatalf("open the store: %v", err)
	}
	h.Cleanup(func() { db.Close() })
	journald := b.Pid(h, "systemd-journal")
	return &server{
		addr:     "127.0.0.1:25",
		network:  b.Network(),
		pids:     []int{b.Pid(h, "goguerrillad"), journald},
		journald: journald,
		rows:     countRows(db),
		entries: func(context.Context) (int, error) {
			text, err := b.Try(log + " | grep -c -F 'message accepted'")
			if n, e := strconv.Atoi(text); e == nil { // grep fails if there is no such line
				return n, nil
			}
			return 0, fmt.Errorf("count the entries: %w: %s", err, text)
		},
		output: func() string {
			text, _ := b.Try("journalctl --no-pager --lines=50")
			return text
		},
		version: "goguerrillad " + sourceVersion(ctx) + ", " + b.Run(h, "systemctl --version | head -n 1"),
		settings: []setting{{"service", "unit and configuration of the package, " + b.Run(h, "systemctl show --property=LogRateLimitIntervalUSec goguerrillad.service") +
			"; journal in " + b.Run(h, "journalctl --header | sed -n 's/^File path: //p' | xargs -n 1 dirname | sort -u | xargs")}},
	}
}

// buildPackage builds the package and returns its path.
func buildPackage(ctx context.Context, h *harness) string {
	if h.deb != "" {
		return h.deb
	}
	test.Need(h, "dpkg-buildpackage", "dh")
	root, err := test.ModuleRoot()
	if err != nil {
		h.Fatalf("%v", err)
	}
	const version = "1.0~bench"
	cmd := exec.CommandContext(ctx, "make", "deb", "VERSION="+version)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		h.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	h.deb = filepath.Join(root, "build", "goguerrillad_"+version+"_"+output(ctx, "dpkg", "--print-architecture")+".deb")
	return h.deb
}

// serviceTables returns the cases and the results of BENCH=service.
func (r *report) serviceTables() string {
	var b strings.Builder
	for _, c := range r.Cases {
		fmt.Fprintf(&b, "case %s: %s; %d messages per measurement, %d sessions\n", c.Name, c.Title, c.Messages, c.Sessions)
	}
	rows := [][]string{{"contestant", "case", "msgs/s", "x log file", "server CPU", "of it journald", "samples"}}
	for _, result := range r.Results {
		file := 0.0
		for _, other := range r.of(result.Case) {
			if other.Contestant == withLogFile {
				file = other.Rate.Median
			}
		}
		rows = append(rows, []string{
			result.Contestant, result.Case, result.Rate.String(), orDash(ratio(result.Rate.Median, file), "%.2f"),
			result.ServerCPU.String(), fmt.Sprintf("%.0f", result.Journald), result.sampleCount(),
		})
	}
	fmt.Fprintf(&b, "\n%s\n", align(rows))
	fmt.Fprintf(&b, "Medians of %d rounds in random order (seed %d), %s in all, with the least and the greatest value in parentheses.\n",
		r.Rounds, r.Seed, r.duration())
	b.WriteString("Each contestant is the service of the package on a booted Debian 12, with SQLite. x log file: the rate divided by that with\n" +
		"GSMTP_LOG_FILE in the same rounds. CPU is in µs per message. Every accepted message had exactly one entry in the log.\n")
	return b.String()
}
