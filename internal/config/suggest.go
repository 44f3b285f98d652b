package config

import "strings"

// suggest returns a hint for an unknown key: the key that was probably meant.
func suggest(name string, keys []Key) string {
	switch strings.ToUpper(name) {
	case "GSMTP_LISTEN_INTERFACE":
		return "did you mean GSTMP_LISTEN_INTERFACE? (the typo is part of the name)"
	case "SUID", "UID", "GSMTP_UID", "GSMTP_USER":
		return "did you mean GUID, the user to switch to?"
	case "GID", "GSMTP_GID":
		return "did you mean SGID, the group to switch to?"
	case "MAX_SMTP_CLIENTS":
		return "remove it, GM_MAX_CLIENTS is the limit"
	case "GSMTP_MAIL_EXPIRE_SECONDS":
		return "did you mean REDIS_EXPIRE_SECONDS?"
	case "PID_FILE":
		return "remove it, systemd keeps track of the process"
	case "GM_SAVE_WORKERS", "GM_CONN_BACKLOG":
		return "remove it, there is nothing to tune"
	case "SERVERS", "BACKEND_CONFIG", "BACKEND_NAME", "LOG_LEVEL":
		return "this is a key of go-guerrilla 1.4 or later, start from goguerrilla.conf.sample"
	case "ALLOWED_HOSTS":
		return "did you mean GM_ALLOWED_HOSTS?"
	case "LOG_FILE":
		return "did you mean GSMTP_LOG_FILE?"
	}
	best, least := "", 1<<30
	for _, k := range keys {
		if n := distance(strings.ToUpper(name), k.Name); n < least {
			best, least = k.Name, n
		}
	}
	if least > max(2, min(len(name), maxCompared)/2) {
		return "the nearest known key is " + best
	}
	return "did you mean " + best + "?"
}

// maxCompared is how many bytes of a key are compared.
const maxCompared = 64

// distance returns the least number of insertions, deletions, replacements and
// swaps of neighbours that turn a into b (optimal string alignment).
func distance(a, b string) int {
	a, b = a[:min(len(a), maxCompared)], b[:min(len(b), maxCompared)]
	var before, above, row [maxCompared + 1]int
	for j := range len(b) + 1 {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above = above, row
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
