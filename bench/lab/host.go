//go:build linux

package lab

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// A Host is a network namespace of a lab.
type Host struct {
	Name      string // in the lab
	Namespace string // on the machine: what `ip netns` and a configuration's netns key call it

	lab     *Lab
	devices atomic.Int32 // ethN interfaces given out by nextDevice
}

func (h *Host) nextDevice() string { return fmt.Sprintf("eth%d", h.devices.Add(1)-1) }

// IP runs ip(8) with the host as its namespace.
func (h *Host) IP(args ...string) error { return ip(append([]string{"-n", h.Namespace}, args...)...) }

// AddAddress gives an interface an address, written as a prefix.
func (h *Host) AddAddress(dev, prefix string) error {
	args := []string{"addr", "add", prefix, "dev", dev}
	if strings.Contains(prefix, ":") {
		args = append(args, "nodad")
	}
	return h.IP(args...)
}

// Command is a program to be run in the host; it is killed when the context ends or this process dies.
func (h *Host) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	argv := append([]string{"netns", "exec", h.Namespace, mustLook(program)}, args...)
	cmd := exec.CommandContext(ctx, mustLook("ip"), argv...)
	// ip(8) becomes the program by execve, so the process id is the program's and signals reach it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 15 * time.Second
	return cmd
}

// Run runs a program in the host to its end and returns its standard output. Its standard error is part of the error.
func (h *Host) Run(ctx context.Context, program string, args ...string) (string, error) {
	return h.RunInput(ctx, "", program, args...)
}

// RunInput is [Host.Run] with something to read on standard input.
func (h *Host) RunInput(ctx context.Context, stdin, program string, args ...string) (string, error) {
	cmd := h.Command(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return stdout.String(), fmt.Errorf("run %s %s on host %s: %w: %s",
			program, strings.Join(args, " "), h.Name, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
