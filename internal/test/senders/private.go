package senders

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"goguerrillad/internal/test"
)

// privateID is the id of the first of a command's users, the next ones follow.
const privateID = 63001

// privateCommand is a command for a server that was unpacked and not
// installed. In a mount namespace of its own the users that its package would
// have made are there, and the directories named by hide are empty; prepare is
// a shell command that fills them. Nothing of it is seen outside, and nothing
// of it is left.
func privateCommand(t test.T, users, hide []string, prepare string, args ...string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	var passwd, group strings.Builder
	for i, user := range users {
		id := fmt.Sprint(privateID + i)
		passwd.WriteString(user + ":x:" + id + ":" + id + "::/nonexistent:/usr/sbin/nologin\n")
		group.WriteString(user + ":x:" + id + ":\n")
	}
	text := "set -e\n"
	for file, more := range map[string]string{"passwd": passwd.String(), "group": group.String()} {
		old, err := os.ReadFile("/etc/" + file)
		if err != nil {
			t.Fatalf("users: %v", err)
		}
		text += "mount --bind " + test.WriteFile(t, dir, file, string(old)+more) + " /etc/" + file + "\n"
	}
	for _, d := range hide {
		text += "mount -t tmpfs tmpfs " + d + "\n"
	}
	text += prepare + "\nexec \"$@\"\n"
	return exec.Command("unshare", append([]string{"--mount", "--propagation", "private", "sh", "-c", text, "sh"}, args...)...)
}
