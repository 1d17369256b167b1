package tun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
)

// addressesServe is how long IPv6 addresses may take until they serve.
const addressesServe = 5 * time.Second

// configure sets the device's queue length, MTU and addresses and brings it up. It runs in the device's network
// namespace; the netlink socket that it keeps stays there.
func (d *Device) configure(cfg *Config) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	d.netlink = h
	if d.link, err = h.LinkByName(d.name); err != nil {
		return fmt.Errorf("find it by netlink: %w", err)
	}
	if err := h.LinkSetTxQLen(d.link, cfg.TxQueueLen); err != nil {
		return fmt.Errorf("set its queue length to %d packets: %w", cfg.TxQueueLen, err)
	}
	if cfg.MTU == keepMTU {
		d.mtu.Store(int32(d.link.Attrs().MTU))
	} else if err := d.setMTU(cfg.MTU); err != nil {
		return err
	}
	if err := d.removeAddresses(cfg); err != nil {
		return err
	}
	for _, a := range cfg.Addresses {
		err := h.AddrAdd(d.link, address(a))
		if len(cfg.Taken) > 0 && errors.Is(err, unix.EEXIST) {
			continue
		}
		if a.Addr().Is6() && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EOPNOTSUPP)) {
			return fmt.Errorf("add address %v: IPv6 is turned off here (sysctl net.ipv6.conf.default.disable_ipv6): %w", a, err)
		}
		if err != nil {
			return fmt.Errorf("add address %v: %w", a, err)
		}
	}
	if err := h.LinkSetUp(d.link); err != nil {
		return fmt.Errorf("bring it up: %w", err)
	}
	return d.awaitIPv6(cfg.Addresses)
}

// awaitIPv6 waits until the IPv6 addresses serve: the kernel puts them into its route table by a task of its own, which on a busy
// machine takes some milliseconds, and drops or forwards what comes for them before.
func (d *Device) awaitIPv6(addresses []netip.Prefix) error {
	deadline := time.Now().Add(addressesServe)
	for _, a := range addresses {
		if !a.Addr().Is6() {
			continue
		}
		for {
			routes, err := d.netlink.RouteGet(a.Addr().AsSlice())
			if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("address %v does not serve %v after it was added", a, addressesServe)
			}
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

// address is a in netlink's terms. Nobody else on a point-to-point link could have it, so that IPv6 need not look for
// duplicates (RFC 4862 section 5.4) and the address serves at once.
func address(a netip.Prefix) *netlink.Addr {
	n := &netlink.Addr{IPNet: &net.IPNet{
		IP:   a.Addr().AsSlice(),
		Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen()),
	}}
	if a.Addr().Is6() {
		n.Flags = unix.IFA_F_NODAD
	}
	return n
}

// SetMTU changes the device's MTU, in bytes.
func (d *Device) SetMTU(mtu int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Load() {
		return fmt.Errorf("set MTU of %q: %w", d.name, dataplane.ErrClosed)
	}
	if err := checkMTU(mtu, d.addresses); err != nil {
		return fmt.Errorf("set MTU of %q: %w", d.name, err)
	}
	if err := d.setMTU(mtu); err != nil {
		return fmt.Errorf("TUN device %q: %w", d.name, err)
	}
	return nil
}

func (d *Device) setMTU(mtu int) error {
	if err := d.netlink.LinkSetMTU(d.link, mtu); err != nil {
		return fmt.Errorf("set MTU to %d: %w", mtu, err)
	}
	d.mtu.Store(int32(mtu))
	return nil
}
