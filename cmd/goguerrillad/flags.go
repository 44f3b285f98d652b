package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"goguerrillad/internal/config"
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
	list    int    // number of messages to list; 0 = no list
	show    string // hash of the message to show; "" = none

	service *unit.Service // the installed service that uses the file, for commands that only read; nil = none
}

const usage = `usage: goguerrillad [-config FILE] [-if ADDR] [-v y|n] [-t] [-version] [-list N] [-show HASH]
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
		if n, err := fmt.Sscanf(s+"\n", "%d\n", &f.list); n != 1 || err != nil || f.list < 1 {
			return errors.New("want a number of at least 1")
		}
		return nil
	})
	set.Func("show", "print the message with `HASH` and exit", func(s string) error {
		if len(s) != 32 || strings.Trim(s, "0123456789abcdefABCDEF") != "" {
			return errors.New("want 32 hexadecimal digits")
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
	if f.test && (f.list > 0 || f.show != "") || f.list > 0 && f.show != "" {
		return f, errors.New("-t, -list and -show cannot be combined")
	}
	return f, nil
}

// reads reports whether the command only reads: it starts no server.
func (f flags) reads() bool { return f.test || f.list > 0 || f.show != "" }

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
