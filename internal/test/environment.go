package test

import (
	"io/fs"
	"time"

	"goguerrillad/internal/config"
)

// Environment returns an environment for config.Parse: these variables and files, 1 GiB of
// memory, and the host name mx.example.com.
func Environment(vars, files map[string]string) config.Environment {
	return config.Environment{
		Getenv: func(name string) string { return vars[name] },
		ReadFile: func(path string) ([]byte, error) {
			text, ok := files[path]
			if !ok {
				return nil, fs.ErrNotExist
			}
			return []byte(text), nil
		},
		Now:    time.Now,
		Memory: func() int64 { return 1 << 30 },
		FQDN:   func() string { return "mx.example.com" },
	}
}
