// Goguerrillad receives mail by SMTP and commits it to a database before it
// acknowledges it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"

	"goguerrillad/internal/service"
)

// Set by the linker.
var (
	version = "unknown"
	commit  = "unknown"
)

// Exit statuses, goguerrillad(8). exitConfig is EX_CONFIG of sysexits(3).
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitConfig = 78
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program: it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	f, err := parseFlags(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintln(stderr, "goguerrillad:", err)
		return exitUsage
	case f.version:
		fmt.Fprintf(stdout, "goguerrillad %s (commit %s, %s)\n", version, commit, runtime.Version())
		return exitOK
	}

	var signals chan os.Signal
	if !f.test && f.list == 0 && f.show == "" {
		signals = service.Hold()
	}
	cfg, err := f.load()
	if err != nil {
		return refuse(stderr, err)
	}
	switch {
	case f.test:
		if err := tryRecipients(stderr, cfg); err != nil {
			return refuse(stderr, err)
		}
		for _, w := range warnings(cfg, limitClients(cfg, descriptorLimit())) {
			fmt.Fprintln(stderr, "goguerrillad: warning:", w)
		}
		fmt.Fprintf(stdout, "%s: configuration is good\n", f.config)
	case f.list > 0:
		err = list(stdout, cfg, f.list)
	case f.show != "":
		err = show(stdout, cfg, f.show)
	default:
		return serve(f, cfg, signals, stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "goguerrillad:", err)
		return exitFailed
	}
	return exitOK
}
