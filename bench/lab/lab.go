//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// namePrefix starts the name of every namespace and directory that a lab makes; the lab's id follows.
const namePrefix = "warrenlab-"

// labs numbers the labs of this process, so that their names differ.
var labs atomic.Uint32

// A Lab owns hosts, the processes that run in them, and a directory for their files.
type Lab struct {
	id  string // process id and running number: unique on the machine
	dir string

	mu      sync.Mutex
	names   map[string]bool // of hosts
	closers []func() error  // run in reverse order by Close
	closed  bool
}

// New makes an empty lab, and removes the namespaces of labs whose process is gone. The caller must Close it.
func New() (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a lab of network namespaces needs root")
	}
	sweep()
	id := fmt.Sprintf("%d-%d", os.Getpid(), labs.Add(1))
	dir, err := os.MkdirTemp("", namePrefix+id+"-")
	if err != nil {
		return nil, fmt.Errorf("make the lab's directory: %w", err)
	}
	return &Lab{
		id:    id,
		dir:   dir,
		names: make(map[string]bool),
	}, nil
}

// Dir is where the lab's processes keep their files. It is removed by Close.
func (l *Lab) Dir() string { return l.dir }

// Close ends every process of the lab, removes its hosts and its directory. Closing twice is allowed.
func (l *Lab) Close() error {
	l.mu.Lock()
	closers := l.closers
	l.closers, l.closed = nil, true
	l.mu.Unlock()

	var errs []error
	for i := len(closers) - 1; i >= 0; i-- {
		errs = append(errs, closers[i]())
	}
	errs = append(errs, os.RemoveAll(l.dir))
	return errors.Join(errs...)
}

// onClose registers what Close must undo. If the lab is closed already it is undone at once.
func (l *Lab) onClose(undo func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errors.Join(errors.New("the lab is closed"), undo())
	}
	l.closers = append(l.closers, undo)
	return nil
}

// Host makes a host: a network namespace whose only interface is its loopback, up. The name is unique in the lab and has
// at most 32 characters.
func (l *Lab) Host(name string) (*Host, error) {
	h := &Host{Name: name, Namespace: hostNamespace(l.id, name), lab: l}
	l.mu.Lock()
	taken := l.names[name]
	l.names[name] = true
	l.mu.Unlock()
	if taken {
		return nil, fmt.Errorf("the lab has a host %q already", name)
	}
	if err := ip("netns", "add", h.Namespace); err != nil {
		return nil, err
	}
	if err := l.onClose(func() error { return ip("netns", "del", h.Namespace) }); err != nil {
		return nil, err
	}
	return h, ip("-n", h.Namespace, "link", "set", "lo", "up")
}

// A Link is a veth pair between two hosts. Addresses are prefixes ("192.0.2.1/24", "2001:db8::1/64").
type Link struct {
	A, B           *Host
	DevA, DevB     string // interface names; eth0, eth1, … of each host if empty
	AddrsA, AddrsB []string
	MTU            int // octets of an IP packet; 1500 if zero
}

// Connect makes a link, both ends up and with carrier, so that the first packet crosses. IPv6 addresses are usable at once (no
// duplicate detection).
func (l *Lab) Connect(link Link) error {
	if link.DevA == "" {
		link.DevA = link.A.nextDevice()
	}
	if link.DevB == "" {
		link.DevB = link.B.nextDevice()
	}
	if link.MTU == 0 {
		link.MTU = 1500
	}
	err := ip("link", "add", link.DevA, "netns", link.A.Namespace, "type", "veth",
		"peer", "name", link.DevB, "netns", link.B.Namespace)
	if err != nil {
		return err
	}
	ends := []struct {
		host  *Host
		dev   string
		addrs []string
	}{{link.A, link.DevA, link.AddrsA}, {link.B, link.DevB, link.AddrsB}}
	for _, end := range ends {
		if err := end.host.IP("link", "set", end.dev, "mtu", strconv.Itoa(link.MTU), "up"); err != nil {
			return err
		}
		for _, addr := range end.addrs {
			if err := end.host.AddAddress(end.dev, addr); err != nil {
				return err
			}
		}
	}
	// The kernel drops what is sent before it has noticed the carrier, which it does a while after.
	ctx, cancel := context.WithTimeout(context.Background(), carrierTime)
	defer cancel()
	for _, end := range ends {
		if err := WaitFor(ctx, "carrier", func() error { return end.host.hasCarrier(ctx, end.dev) }); err != nil {
			return err
		}
	}
	return nil
}

// carrierTime bounds how long a kernel takes to notice a carrier.
const carrierTime = 20 * time.Second

func (h *Host) hasCarrier(ctx context.Context, dev string) error {
	out, err := exec.CommandContext(ctx, mustLook("ip"), "-n", h.Namespace, "-br", "link", "show", "dev", dev).Output()
	if err != nil {
		return fmt.Errorf("look at %s of host %s: %w", dev, h.Name, err)
	}
	if state := strings.Fields(string(out)); len(state) < 2 || state[1] != "UP" {
		return fmt.Errorf("%s of host %s has none: %s", dev, h.Name, out)
	}
	return nil
}

// Addresses of the hosts that [Lab.Pair] makes.
const (
	PairA4, PairB4 = "192.0.2.1", "192.0.2.2"
	PairA6, PairB6 = "2001:db8::1", "2001:db8::2"
)

// Pair makes two hosts, a and b, joined by one link with MTU 1500; see [PairA4] and its neighbours for the addresses.
func (l *Lab) Pair() (a, b *Host, err error) {
	if a, err = l.Host("a"); err != nil {
		return nil, nil, err
	}
	if b, err = l.Host("b"); err != nil {
		return nil, nil, err
	}
	err = l.Connect(Link{A: a, B: b,
		AddrsA: []string{PairA4 + "/24", PairA6 + "/64"},
		AddrsB: []string{PairB4 + "/24", PairB6 + "/64"}})
	return a, b, err
}

// WaitFor returns nil as soon as cond does, asking every 20 ms; when the context ends first, the last error of cond says
// what was missing.
func WaitFor(ctx context.Context, what string, cond func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; last: %w", what, ctx.Err(), err)
		case <-tick.C:
		}
	}
}

func hostNamespace(lab, host string) string { return namePrefix + lab + "-" + host }

// ip runs ip(8) in the machine's own namespace. It changes state and answers at once, so it has no context.
func ip(args ...string) error {
	out, err := exec.Command(mustLook("ip"), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
