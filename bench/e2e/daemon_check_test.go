//go:build linux

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestCheckWrongFiles: whatever is handed to `check`, it says where it is wrong, all of it, and never a key.
func TestCheckWrongFiles(t *testing.T) {
	program, dir := build(t), t.TempDir()
	ctx := limit(t)
	var bomb strings.Builder
	fmt.Fprintln(&bomb, "a: &a [x,x,x,x,x,x,x,x,x,x]")
	for c := 'b'; c < 'j'; c++ {
		fmt.Fprintf(&bomb, "%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 10), ","))
	}
	const secret = "1112131415161718191a1b1c1d1e1f20212223"
	for _, c := range []struct {
		name, text string
		status     int
		want       []string
	}{
		{"binary", "\x7fELF\x02\x01\x01\x00\x00\xff\xfe", 2, []string{"binary:1:"}},
		{"words", "hello world\n", 2, []string{"words:1:1:", "want a mapping"}},
		{"tab", "underlay:\n\taddresses: [192.0.2.1]\n", 2, []string{"tab:2:1:"}},
		{"bracket", "underlay: {addresses: [192.0.2.1\ntunnels: {}\n", 2, []string{"bracket:2:", "not YAML"}},
		{"bomb", bomb.String() + "tunnels: *i\n", 2, []string{"bomb:10:10:", "alias"}},
		{"many", `underlay: {addresses: [192.0.2.1], udp_port: 99999}
vrfs:
  main: {port: {tun: a-name-that-is-too-long, queues: 1000, addresses: [10.1.0.1]}}
tunnels:
  peer:
    vrf: nowhere
    ipsec:
      remote: 2001:db8::1
      encap: sometimes
      static:
        esp: aes128gcm16
        out: {spi: 255, key: "0x` + secret + `"}
        in:  {spi: 0xcf2426b6, key: "0x` + secret + `zz"}
    routes: [banana]
`, 2, []string{"11 mistakes", "many:1:46:", "many:3:22:", "at most 15 bytes", "many:3:55:", "number from 0 to 64", "many:3:73:", "10.1.0.1/32",
			"many:6:10:", `no vrf "nowhere"`, "many:8:15:", "many:9:14:", "always", "many:12:20:", "reserved", "many:12:30:", "19 bytes; want 20",
			"many:13:37:", "not hexadecimal", "many:14:14:"}},
	} {
		path := filepath.Join(dir, c.name)
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		checks(t, ctx, program, path, c.status, c.want...)
	}
	checks(t, ctx, program, dir, 1, "not a regular file")
	checks(t, ctx, program, "/dev/zero", 1, "not a regular file")
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	checks(t, ctx, program, pipe, 1, "not a regular file")
}

// checks that `check` of a file ends with a status and says all of want, on its error output and in good time.
func checks(t testing.TB, ctx context.Context, program, path string, status int, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "check", path)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != status {
		t.Errorf("check %s: %v, want exit status %d", path, err, status)
	}
	text := stderr.String()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("check %s: no %q in\n%s", path, w, text)
		}
	}
	if stdout.Len() > 0 || strings.Contains(text, "1112131415") || strings.Contains(text, "goroutine ") {
		t.Errorf("check %s says too much:\n%s%s", path, stdout.String(), text)
	}
}
