package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// Main runs a program of that name, and ends the process where it fails. What a signal ends is still taken down by run, whose
// context it cancels: namespaces, processes, files.
func Main(name string, run func(ctx context.Context, args []string, out io.Writer) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Warren is the path of the warren program to measure: the one that was named, or where none was, one that is built of the source
// in the working directory. Its path is returned even if building it failed. The caller calls remove when it is done.
func Warren(ctx context.Context, named string) (path string, remove func() error, err error) {
	if named != "" {
		return named, func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp("", "warren-")
	if err != nil {
		return "", func() error { return nil }, fmt.Errorf("make a directory for warren: %w", err)
	}
	path, remove = filepath.Join(dir, "warren"), func() error { return os.RemoveAll(dir) }
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/warrenvpn/warren/cmd/warren").CombinedOutput(); err != nil {
		return path, remove, fmt.Errorf("build warren: %w\n%s", err, out)
	}
	return path, remove, nil
}

// Machine says on what it runs, as far as the system tells: cores, kernel, version of Go.
func Machine() string {
	cpu := "unknown CPU"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				cpu = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel := "unknown kernel"
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = "Linux " + strings.TrimSpace(string(text))
	}
	return fmt.Sprintf("%d cores of %s, %s, %s", runtime.NumCPU(), cpu, kernel, runtime.Version())
}
