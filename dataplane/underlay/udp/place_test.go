package udp

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestPortOfADevice: whoever has the port on another device is not in the way, on the same one is; and an address that only the device
// makes one, as those of links are, can be had there.
func TestPortOfADevice(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network devices")
	}
	ownNetwork(t)
	for i, name := range []string{"one", "two"} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		link := &netlink.Veth{LinkAttrs: attrs, PeerName: "peer-of-" + name}
		if err := netlink.LinkAdd(link); err != nil {
			t.Fatal(err)
		}
		own := &netlink.Addr{IPNet: netlink.NewIPNet(netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: byte(1 + i)}).AsSlice()), Flags: unix.IFA_F_NODAD}
		if err := netlink.AddrAdd(link, own); err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			t.Fatal(err)
		}
	}
	for _, at := range []string{"0.0.0.0:4500", "[::]:4500"} {
		one := open(t, Config{Local: netip.MustParseAddrPort(at), Device: "one"})
		two := open(t, Config{Local: netip.MustParseAddrPort(at), Device: "two"})
		if _, err := Open(Config{Local: netip.MustParseAddrPort(at), Device: "two"}); err == nil || !strings.Contains(err.Error(), "in use by another program") {
			t.Errorf("%s twice on one device: %v", at, err)
		}
		_, _ = one.Close(), two.Close()
	}
	open(t, Config{Local: netip.MustParseAddrPort("[fe80::1]:4500"), Device: "one"})
	if _, err := Open(Config{Local: netip.MustParseAddrPort("[fe80::1]:4500"), Device: "two"}); err == nil || !strings.Contains(err.Error(), "is not an address of this host") {
		t.Errorf("another device's address: %v", err)
	}
}
