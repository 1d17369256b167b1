//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
)

// groups are the key exchange methods that are measured.
var groups = []string{"curve25519", "ecp384"}

// proposalOf is the IKE proposal with a group: the usual PRF beside each.
func proposalOf(group string) string {
	if group == "ecp384" {
		return "aes256gcm16-prfsha384-ecp384"
	}
	return "aes128gcm16-prfsha256-" + group
}

const (
	espProposal   = "aes128gcm16"
	behindGateway = "10.2.0.0/16"
)

// A responder is a program that answers.
type responder interface {
	name() string
	// start starts it on a host, ready to answer with a group, and returns its process.
	start(ctx context.Context, h *lab.Host, dir, group string) (*lab.Process, error)
}

type warrenResponder struct{ program string }

func (*warrenResponder) name() string { return "warren" }

const warrenConfig = `underlay: {addresses: [%s]}
log: {level: error}
vrfs:
  main: {port: {tun: warren0, addresses: [10.2.0.1/16]}}
tunnels:
  clients:
    ipsec:
      remote: any
      local_id: gateway.example
      remote_id: "*.example"
      psk: %q
      proposals: %s
      esp_proposals: %s
      encap: always
      start_action: none
      child: {local_ts: [%s]}
`

func (w *warrenResponder) start(ctx context.Context, h *lab.Host, dir, group string) (*lab.Process, error) {
	config, socket := filepath.Join(dir, group+".yaml"), filepath.Join(dir, group+".sock")
	text := fmt.Sprintf(warrenConfig, lab.PairB4, secret, proposalOf(group), espProposal, behindGateway)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	p, err := h.StartEnv([]string{"GOMAXPROCS=1"}, w.program, "run", "--socket", socket, config)
	if err != nil {
		return nil, err
	}
	return p, running(ctx, p, socket)
}

// running waits until a warren answers that it runs.
func running(ctx context.Context, p *lab.Process, socket string) error {
	return p.Wait(ctx, "warren", func() error {
		s, err := warren.NewClient(socket).Status(ctx)
		if err == nil && s.State != "running" {
			err = errors.New(s.State)
		}
		return err
	})
}

type charonResponder struct{}

func (charonResponder) name() string { return "charon" }

const charonConfig = `connections { t {
  version = 2
  local_addrs = %s
  remote_addrs = %%any
  encap = yes
  proposals = %s
  local { auth = psk
    id = gateway.example }
  remote { auth = psk
    id = *.example }
  children { c {
    local_ts = %s
    remote_ts = 10.0.0.0/8
    esp_proposals = %s } } } }
secrets { ike-t { secret = "%s" } }
`

func (charonResponder) start(ctx context.Context, h *lab.Host, _, group string) (*lab.Process, error) {
	// A route into its tunnel needs an address of the network behind it.
	if err := h.AddAddress("lo", "10.2.0.1/32"); err != nil {
		return nil, err
	}
	s, err := h.StartStrongSwan(ctx, fmt.Sprintf(charonConfig, lab.PairB4, proposalOf(group), behindGateway, espProposal, secret),
		"cookie_threshold = 1000000", "cookie_threshold_ip = 1000000", "block_threshold = 2000000", "ikesa_table_size = 4096", "ikesa_table_segments = 16",
		"filelog { log { default = -1 } }", "journal { default = -1 }")
	if err != nil {
		return nil, err
	}
	return s.Process, nil
}

// measure has one responder on a core of its own answer so many handshakes, and returns how many it answers in a second of CPU.
func measure(ctx context.Context, r responder, group string, handshakes int) (rate float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	l, err := lab.New()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	a, b, err := l.Pair()
	if err != nil {
		return 0, err
	}
	p, err := r.start(ctx, b, l.Dir(), group)
	if err != nil {
		return 0, err
	}
	if err := pin(p.PID()); err != nil {
		return 0, err
	}
	i, err := newInitiator(a, group, handshakes)
	if err != nil {
		return 0, err
	}
	defer i.socket.Close()
	return i.rate(ctx, p.PID(), handshakes)
}

// rate brings the clients up, some at a time, and down again when those were timed: what a responder of a thousand clients spends
// on its lists is not what is asked here.
func (i *initiator) rate(ctx context.Context, responder, handshakes int) (rate float64, err error) {
	var spent time.Duration
	for from := 0; from < handshakes; from += batch {
		to := min(handshakes, from+batch)
		begin, err := cpu(responder)
		if err != nil {
			return 0, err
		}
		if err := i.bringUp(ctx, from, to); err != nil {
			return 0, err
		}
		end, err := cpu(responder)
		if err != nil {
			return 0, err
		}
		spent += end - begin
		if err := i.takeDown(ctx, from, to); err != nil {
			return 0, err
		}
	}
	return float64(handshakes) / spent.Seconds(), nil
}

// batch is how many clients are up at once.
const batch = 100

// pin ties all threads of a process to the last core.
func pin(pid int) error {
	var last unix.CPUSet
	if err := unix.SchedGetaffinity(0, &last); err != nil {
		return fmt.Errorf("ask for the cores: %w", err)
	}
	core := -1
	for n := range 1024 {
		if last.IsSet(n) {
			core = n
		}
	}
	var one unix.CPUSet
	one.Set(core)
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return err
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err == nil {
			err = unix.SchedSetaffinity(id, &one)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("pin a thread: %w", err)
		}
	}
	return nil
}

// cpu is how long the threads of a process have been on a core (/proc/PID/task/TID/schedstat).
func cpu(pid int) (spent time.Duration, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("threads of process %d: none, %w", pid, err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return 0, err
		}
		var ns int64
		if _, err := fmt.Sscan(string(data), &ns); err != nil {
			return 0, fmt.Errorf("read %s: %w", f, err)
		}
		spent += time.Duration(ns)
	}
	return spent, nil
}
