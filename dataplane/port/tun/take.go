package tun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
)

// Lend returns descriptors of the device's queues, for the process that takes over with Config.Taken: while one of them is open the
// device stays, with its addresses and the routes through it, though this process closes it. What comes meanwhile waits in the
// queues. The caller closes them.
func (d *Device) Lend() (queues []int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Load() {
		return nil, fmt.Errorf("lend TUN device %q: %w", d.name, dataplane.ErrClosed)
	}
	for _, fd := range d.fds {
		lent, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			for _, fd := range queues {
				_ = unix.Close(fd)
			}
			return nil, fmt.Errorf("lend TUN device %q: %w", d.name, err)
		}
		queues = append(queues, lent)
	}
	return queues, nil
}

// errNotLent says that a descriptor is none of the device's.
var errNotLent = errors.New("a descriptor that was handed over is no queue of the device")

// take is attach for a device whose queues were lent. What it can it has from the process that made it.
func (d *Device) take(cfg *Config) error {
	var flags uint16
	for _, fd := range d.fds {
		ifr, err := unix.NewIfreq("")
		if err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr); err != nil {
			return fmt.Errorf("%w: %w", errNotLent, err)
		}
		if ifr.Name() != cfg.Name {
			return fmt.Errorf("%w: it is of %q", errNotLent, ifr.Name())
		}
		flags = ifr.Uint16()
		if err := unix.SetNonblock(fd, true); err != nil {
			return err
		}
	}
	d.name = cfg.Name
	d.has.multiQueue = flags&unix.IFF_MULTI_QUEUE != 0
	if flags&unix.IFF_VNET_HDR != 0 {
		d.has.vnet, d.vnetLen = true, vnetLen
	}
	for len(d.fds) > cfg.Queues { // the kernel moves its flows to the others
		last := len(d.fds) - 1
		if err := unix.Close(d.fds[last]); err != nil {
			return err
		}
		d.fds = d.fds[:last]
	}
	return d.complete(cfg, flags&(unix.IFF_TUN|unix.IFF_NO_PI|unix.IFF_MULTI_QUEUE|unix.IFF_VNET_HDR))
}

// removeAddresses takes addresses that are wanted no more away from a device that was taken over. Those that the kernel gave it
// stay.
func (d *Device) removeAddresses(cfg *Config) error {
	if len(cfg.Taken) == 0 {
		return nil
	}
	there, err := d.netlink.AddrList(d.link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list its addresses: %w", err)
	}
	for i := range there {
		a, ok := prefixOf(there[i].IPNet)
		if !ok || a.Addr().IsLinkLocalUnicast() || slices.Contains(cfg.Addresses, a) {
			continue
		}
		if err := d.netlink.AddrDel(d.link, &there[i]); err != nil {
			return fmt.Errorf("remove address %v: %w", a, err)
		}
	}
	return nil
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	if v4 := n.IP.To4(); v4 != nil {
		a, ok = netip.AddrFromSlice(v4)
	}
	return netip.PrefixFrom(a, ones), ok
}
