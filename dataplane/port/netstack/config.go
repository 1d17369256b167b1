package netstack

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
)

// Limits and defaults of a Config.
const (
	DefaultMTU        = 1420
	DefaultQueueBytes = 16 << 20
	// MinMTU for IPv4 alone: RFC 791 says that every host takes 576 bytes. IPv6 wants MinMTU6 (RFC 8200 section 5).
	MinMTU  = 576
	MinMTU6 = 1280
	MaxMTU  = 65535
)

// Config says what stack to build. Only Name and Addresses need be set.
type Config struct {
	// Name of the port.
	Name string

	// Addresses are the stack's own, each with the length of its network. There is one interface, and everything but
	// the stack's own addresses is sent out through it, so the length matters only for a subnet's broadcast address.
	Addresses []netip.Prefix

	// MTU is the largest packet in bytes that the stack may send, and from which TCP derives the segment size that it
	// announces: the inner MTU of the tunnels. DefaultMTU if 0.
	MTU int

	// Forwarding makes the stack a router: a packet for somebody else is sent out again with its TTL lowered, or
	// answered with an ICMP error. Otherwise it is discarded. Segments are not coalesced then.
	Forwarding bool

	// Queues is how many receive queues the port has, one for each worker; at least 1. A flow keeps its queue.
	Queues int

	// QueueBytes is how much each queue holds before it refuses packets, DefaultQueueBytes if 0. Below the largest TCP
	// window (8 MiB) one connection alone may overrun it; TCP takes that for congestion.
	QueueBytes int

	// Logger is told what the application is not: forwarded connections whose handshake failed. May be nil.
	Logger *slog.Logger
}

func (c *Config) withDefaults() Config {
	d := *c
	if d.MTU == 0 {
		d.MTU = DefaultMTU
	}
	if d.Queues == 0 {
		d.Queues = 1
	}
	if d.QueueBytes == 0 {
		d.QueueBytes = DefaultQueueBytes
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d
}

// validate returns all that is wrong, not only the first.
func (c *Config) validate() error {
	var errs []error
	if c.Name == "" {
		errs = append(errs, errors.New("no name"))
	}
	six := false
	for _, a := range c.Addresses {
		if err := checkPrefix(a); err != nil {
			errs = append(errs, err)
		}
		six = six || a.Addr().Is6()
	}
	errs = append(errs, checkMTU(c.MTU, six))
	if c.Queues < 1 || c.Queues > dataplane.MaxWorkers {
		errs = append(errs, fmt.Errorf("%d queues, want 1 to %d", c.Queues, dataplane.MaxWorkers))
	}
	if c.QueueBytes < packet.MaxSize {
		errs = append(errs, fmt.Errorf("a queue of %d bytes, want at least %d", c.QueueBytes, packet.MaxSize))
	}
	return errors.Join(errs...)
}

func checkMTU(mtu int, six bool) error {
	low := MinMTU
	if six {
		low = MinMTU6
	}
	if mtu < low || mtu > MaxMTU {
		return fmt.Errorf("MTU %d, want %d to %d", mtu, low, MaxMTU)
	}
	return nil
}

func checkPrefix(p netip.Prefix) error {
	a := p.Addr()
	switch {
	case !p.IsValid():
		return errors.New("address is not valid")
	case a.Is4In6() || a.Zone() != "":
		return fmt.Errorf("address %v, want plain IPv4 or IPv6 without a zone", p)
	case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
		return fmt.Errorf("address %v is not an address of one host on a network", p)
	}
	return nil
}
