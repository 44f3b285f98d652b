package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"goguerrillad/internal/config"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/stores"
	"goguerrillad/internal/unit"
)

// The configuration file without -config is localConfig if it exists, else installedConfig,
// that of the installed service, whose $STATE_DIRECTORY is installedState.
const (
	localConfig     = "goguerrilla.conf"
	installedConfig = "/etc/goguerrilla/goguerrilla.conf"
	installedState  = "/var/lib/goguerrillad"
)

// flags is the command line.
type flags struct {
	config  string   // path of the configuration file
	listen  []string // overrides GSTMP_LISTEN_INTERFACE; an empty list does not
	verbose string   // "Y" or "N" overrides GSMTP_VERBOSE; "" does not
	test    bool
	version bool
	list    savemail.Filter // N is the number of messages to list; 0 = no list
	json    bool            // -list prints JSON
	show    string          // hash of the message to show, or its beginning; "" = none

	service *unit.Service // the installed service that uses the file, for commands that only read; nil = none
}

const usage = `usage: goguerrillad [-config FILE] [-if ADDR] [-v y|n] [-t] [-version]
       [-list N] [-to ADDR] [-from ADDR] [-since TIME] [-json] [-show HASH]
`

// parseFlags parses the command line. Its errors are one line. It prints the help
// text only for -h.
func parseFlags(args []string, help io.Writer) (flags, error) {
	var f flags
	set := flag.NewFlagSet("goguerrillad", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&f.config, "config", "", "read the configuration from `FILE` (default "+localConfig+", else "+installedConfig+")")
	set.Func("if", "listen on `ADDR` instead of GSTMP_LISTEN_INTERFACE", func(s string) (err error) {
		if s != "" { // the 2012 program's default
			f.listen, err = config.ParseListen(s)
		}
		return err
	})
	set.Func("v", "log the dialogue: `y|n` instead of GSMTP_VERBOSE", func(s string) error {
		switch f.verbose = strings.ToUpper(s); f.verbose {
		case "Y", "N":
			return nil
		}
		return errors.New("want y or n")
	})
	set.BoolVar(&f.test, "t", false, "check the configuration and exit")
	set.BoolVar(&f.version, "version", false, "print version, commit and Go version, and exit")
	set.Func("list", "print the `N` newest messages and exit", func(s string) error {
		if n, err := fmt.Sscanf(s+"\n", "%d\n", &f.list.N); n != 1 || err != nil || f.list.N < 1 {
			return errors.New("want a number of at least 1")
		}
		return nil
	})
	set.StringVar(&f.list.To, "to", "", "list only messages for the recipient `ADDR`")
	set.StringVar(&f.list.From, "from", "", "list only messages from the sender `ADDR`")
	set.Func("since", "list only messages since `TIME`: 2026-01-31, 2026-01-31T12:00:00Z, or a time ago such as 90m", func(s string) (err error) {
		f.list.Since, err = parseSince(s, time.Now())
		return err
	})
	set.BoolVar(&f.json, "json", false, "list the messages as JSON, one object per line")
	set.Func("show", "print the message with `HASH`, or its beginning, and exit", func(s string) error {
		if len(s) < 1 || len(s) > 32 || strings.Trim(s, "0123456789abcdefABCDEF") != "" {
			return errors.New("want up to 32 hexadecimal digits")
		}
		f.show = strings.ToLower(s)
		return nil
	})

	err := set.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(help, usage)
		set.SetOutput(help)
		set.PrintDefaults()
	}
	if err != nil {
		return f, err
	}
	if set.NArg() > 0 {
		return f, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	if f.test && (f.list.N > 0 || f.show != "") || f.list.N > 0 && f.show != "" {
		return f, errors.New("-t, -list and -show cannot be combined")
	}
	if f.list.N == 0 && (f.list != savemail.Filter{} || f.json) {
		return f, errors.New("-to, -from, -since and -json need -list")
	}
	return f, nil
}

// parseSince parses a date, a time, or a duration before now.
func parseSince(s string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(s); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} { // UTC without a zone
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("want 2026-01-31, 2026-01-31T12:00:00Z, or a time ago such as 90m")
}

// reads reports whether the command only reads: it starts no server.
func (f flags) reads() bool { return f.test || f.list.N > 0 || f.show != "" }

// findConfig sets the configuration file if there is no -config. For the file of the installed
// service, it sets $STATE_DIRECTORY as the service has it, unless a server with -config starts.
func (f *flags) findConfig() error {
	fallback := false
	if f.config == "" {
		_, local := os.Stat(localConfig)
		_, installed := os.Stat(installedConfig)
		fallback = errors.Is(local, os.ErrNotExist)
		if fallback && errors.Is(installed, os.ErrNotExist) {
			return &config.Error{File: localConfig, Problem: "there is no such file, and no " + installedConfig,
				Want: "want a copy of goguerrilla.conf.sample, or another path in -config"}
		}
		if f.config = localConfig; fallback {
			f.config = installedConfig
		}
	}
	if f.reads() && os.Getenv("INVOCATION_ID") == "" { // the sandbox of the service forbids systemctl
		service, err := unit.Find(f.config)
		if err != nil {
			return err
		}
		if f.service = service; service != nil {
			service.SetStateDirectory()
		}
	}
	if (fallback || f.reads() && f.config == installedConfig) && os.Getenv("STATE_DIRECTORY") == "" {
		return os.Setenv("STATE_DIRECTORY", installedState)
	}
	return nil
}

// load reads the configuration file. -if and -v override its values.
func (f flags) load() (*stores.Configuration, error) {
	cfg, err := stores.Load(f.config)
	if err != nil {
		return nil, err
	}
	if len(f.listen) > 0 {
		cfg.Listen = f.listen
	}
	if f.verbose != "" {
		cfg.Verbose = f.verbose == "Y"
	}
	return cfg, nil
}
