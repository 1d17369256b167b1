//go:build linux

package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Ways are the devices over which the host's main table leads to an address, with all its most specific route's next hops.
func (h *Host) Ways(to netip.Addr) (devices []string, err error) {
	ns, err := netns.GetFromName(h.Namespace)
	if err != nil {
		return nil, fmt.Errorf("open the namespace of host %s: %w", h.Name, err)
	}
	defer ns.Close()
	n, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("speak to the kernel of host %s: %w", h.Name, err)
	}
	defer n.Close()
	family := netlink.FAMILY_V4
	if to.Is6() {
		family = netlink.FAMILY_V6
	}
	routes, err := n.RouteList(nil, family)
	if err != nil {
		return nil, fmt.Errorf("list the routes of host %s: %w", h.Name, err)
	}
	longest := -1
	var indexes []int
	for _, r := range routes {
		bits := 0
		if r.Dst != nil {
			bits, _ = r.Dst.Mask.Size()
		}
		if r.Dst != nil && !r.Dst.Contains(net.IP(to.AsSlice())) || bits < longest {
			continue
		}
		if bits > longest {
			longest, indexes = bits, nil
		}
		if len(r.MultiPath) == 0 {
			indexes = append(indexes, r.LinkIndex)
		}
		for _, hop := range r.MultiPath {
			indexes = append(indexes, hop.LinkIndex)
		}
	}
	for _, i := range indexes {
		link, err := n.LinkByIndex(i)
		if err != nil {
			return nil, fmt.Errorf("find a device of host %s: %w", h.Name, err)
		}
		devices = append(devices, link.Attrs().Name)
	}
	return devices, nil
}
