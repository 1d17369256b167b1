package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/internal/until"
)

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	until.True(t, what, time.Minute, holds)
}

// TestReload: SIGHUP and the command have a running engine read its file again. With mistakes in the file all of them are said, and the
// engine goes on as before.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "site.yaml"), filepath.Join(dir, "w.sock")
	write := func(more, rest string) {
		t.Helper()
		text := fmt.Sprintf(`
control: {socket: %s}
vrfs: {main: {port: {netstack: {addresses: [10.1.0.1/32]}}}}
forward:
  - {listen: "127.0.0.1:0", to: "10.2.0.1:1"}
%s
%s`, socket, more, rest)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("", "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := new(lockedBuffer)
	ended := make(chan int, 1)
	go func() { ended <- execute(ctx, []string{"run", file}, log, log) }()
	client := warren.NewClient(socket)
	forwards := func() int {
		st, err := client.Status(t.Context())
		if err != nil || st.State != "running" {
			return -1
		}
		return len(st.Forwards)
	}
	eventually(t, "the engine runs", func() bool { return forwards() == 1 })

	write(`  - {listen: "127.0.0.1:0", to: "10.2.0.1:2"}`, "log: {level: debug}")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "SIGHUP adds a forward", func() bool { return forwards() == 2 })

	write(`  - {listen: nowhere, to: "10.2.0.1:2"}`, "workers: -7")
	var stderr bytes.Buffer
	if status := execute(ctx, []string{"reload", "--socket", socket}, &stderr, &stderr); status != 1 {
		t.Errorf("a wrong file: status %d", status)
	}
	for _, want := range []string{"nowhere", "workers", "site.yaml:6"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("the command does not say %q:\n%s", want, &stderr)
		}
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	write("", "workers: 3")
	stderr.Reset()
	if status := execute(ctx, []string{"reload", "--socket", socket}, &stderr, &stderr); status != 1 || !strings.Contains(stderr.String(), "needs a restart: workers") {
		t.Errorf("what needs a restart: status %d, %s", status, &stderr)
	}
	if n := forwards(); n != 2 {
		t.Errorf("%d forwards after files that are wrong, want 2 as before", n)
	}
	write("", "")
	stderr.Reset()
	if status := execute(ctx, []string{"reload", "--socket", socket}, &stderr, &stderr); status != 0 || stderr.Len() > 0 {
		t.Errorf("status %d, %s", status, &stderr)
	}
	if n := forwards(); n != 1 {
		t.Errorf("%d forwards, want 1", n)
	}
	cancel()
	if status := <-ended; status != 0 {
		t.Errorf("the engine ended with %d:\n%s", status, log)
	}
}

// TestReloadOfNobody: an engine that came from no file says so.
func TestReloadOfNobody(t *testing.T) {
	_, socket, _ := startEngine(t)
	var stderr bytes.Buffer
	if status := execute(t.Context(), []string{"reload", "--socket", socket}, &stderr, &stderr); status != 1 || !strings.Contains(stderr.String(), "no configuration file") {
		t.Errorf("status %d, %s", status, &stderr)
	}
}
