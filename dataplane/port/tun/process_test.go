package tun

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWithoutPrivilege runs itself again as nobody.
func TestWithoutPrivilege(t *testing.T) {
	if os.Getenv("TUN_TEST_UNPRIVILEGED") != "" {
		_, err := Open(Config{NetNS: os.Getenv("TUN_TEST_NETNS")})
		var u *UnavailableError
		if !errors.As(err, &u) || !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "`port: {netstack: …}`") ||
			!strings.Contains(err.Error(), "CAP_NET_ADMIN") || strings.Contains(err.Error(), "not permitted") || strings.ContainsAny(err.Error(), "\n") {
			t.Errorf("opened without privilege: %v", err)
		}
		return
	}
	ns := space(t, "nobody")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "warren-tun")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program := dir + "/test"
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(program, self, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, in := range []string{"", ns} {
		cmd := exec.Command(program, "-test.run=^TestWithoutPrivilege$", "-test.count=1")
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), "TUN_TEST_UNPRIVILEGED=1", "TUN_TEST_NETNS="+in)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("in namespace %q: %v\n%s", in, err, out)
		}
	}
}

// TestKilled: a process that is killed leaves nothing behind.
func TestKilled(t *testing.T) {
	if ns := os.Getenv("TUN_TEST_KILLED"); ns != "" {
		open(t, Config{NetNS: ns, Name: "victim", Queues: 2})
		os.Stdout.WriteString("open\n")
		select {}
	}
	ns := space(t, "killed")
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestKilled$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), "TUN_TEST_KILLED="+ns)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "open\n" || !exists(t, ns, "victim") {
		t.Errorf("the victim said %q, %v", line, err)
	}
	if _, err := Open(Config{NetNS: ns, Name: "victim"}); !errors.Is(err, ErrExists) {
		t.Errorf("while it lives: %v", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	open(t, Config{NetNS: ns, Name: "victim"})
}

func TestUnavailable(t *testing.T) {
	for _, c := range []struct {
		err  error
		says string
	}{
		{&cloneError{unix.ENOENT}, "there is no /dev/net/tun"},
		{&cloneError{unix.ENODEV}, "there is no /dev/net/tun"},
		{&cloneError{unix.EACCES}, "permission to open /dev/net/tun"},
		{unix.EPERM, "root (CAP_NET_ADMIN"},
	} {
		var u *UnavailableError
		if got := unavailable(c.err); !errors.As(got, &u) || !strings.Contains(got.Error(), c.says) || !strings.Contains(got.Error(), "netstack") {
			t.Errorf("%v became %v", c.err, got)
		}
	}
	if got := unavailable(ErrExists); got != ErrExists {
		t.Errorf("became %v", got)
	}
}
