package senders

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"goguerrillad/internal/test"
)

// privateID is the id of the first private user of a command; its other users have the
// next ids.
const privateID = 63001

// privateCommand returns the command of a server that is unpacked but not installed. The
// command runs in its own mount namespace, which has the users of the server's package and
// in which the directories in hide are empty; prepare is a shell command that fills them.
// The command changes nothing outside this namespace.
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
			t.Fatalf("read the users: %v", err)
		}
		text += "mount --bind " + test.WriteFile(t, dir, file, string(old)+more) + " /etc/" + file + "\n"
	}
	for _, d := range hide {
		text += "mount -t tmpfs tmpfs " + d + "\n"
	}
	text += prepare + "\nexec \"$@\"\n"
	return exec.Command("unshare", append([]string{"--mount", "--propagation", "private", "sh", "-c", text, "sh"}, args...)...)
}
