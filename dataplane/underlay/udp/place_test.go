package udp

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
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

// TestLinkThatTakesLess: where the device begins to take less, the frames that do not fit are refused and the system says what would, of
// frames that were to leave together too.
func TestLinkThatTakesLess(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network devices")
	}
	ownNetwork(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "near"
	link := &netlink.Veth{LinkAttrs: attrs, PeerName: "far"}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
	for _, ends := range [][2]string{{"192.0.2.1", "192.0.2.2"}, {"2001:db8::1", "2001:db8::2"}} {
		own, peer := netip.MustParseAddr(ends[0]), netip.MustParseAddr(ends[1])
		bits := own.BitLen() - 8
		on := &netlink.Addr{IPNet: &net.IPNet{IP: own.AsSlice(), Mask: net.CIDRMask(bits, own.BitLen())}, Flags: unix.IFA_F_NODAD}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(netlink.LinkSetMTU(link, 1500))
		must(netlink.LinkSetUp(link))
		must(netlink.AddrAdd(link, on))
		s := open(t, Config{Local: netip.AddrPortFrom(own, 4500)})
		if mtu, err := s.PathMTU(peer); err != nil || mtu != 1500 {
			t.Fatal(mtu, err)
		}
		must(netlink.LinkSetMTU(link, 1400))
		for _, n := range []int{1, 3} {
			fs := espFrames(&dataplane.Path{Underlay: s, Remote: netip.AddrPortFrom(peer, 4500)}, 1000, n, 1440)
			s.NewSender().Send(fs)
			for _, f := range fs {
				if f.Drop != packet.UnderlayTooBig {
					t.Errorf("%v, %d at once: %v", own, n, f.Drop)
				}
			}
			if e := pathError(t, s); !e.Local || e.Remote.Addr() != peer || e.MTU != 1400 {
				t.Errorf("%v, %d at once: heard %+v", own, n, e)
			}
		}
		_ = s.Close()
	}
}

// TestEverySocketHasItsPlace: device and mark, those that only send and those that only some workers use too.
func TestEverySocketHasItsPlace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: marks what it sends")
	}
	for _, local := range []netip.AddrPort{local4, local6} {
		s := open(t, Config{Local: local, Device: "lo", Mark: 0x77, Queues: 3})
		for _, fd := range append(s.socks.Queues, s.socks.ClearDF) {
			mark, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK)
			device, err2 := unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
			if err != nil || err2 != nil || mark != 0x77 || device != "lo" {
				t.Errorf("%v: mark %#x, device %q, %v, %v", local, mark, device, err, err2)
			}
		}
	}
}

// TestBothFamiliesOnOnePort: all addresses of IPv6 are not those of IPv4 as well.
func TestBothFamiliesOnOnePort(t *testing.T) {
	six := open(t, Config{Local: netip.MustParseAddrPort("[::]:0")})
	four := open(t, Config{Local: netip.AddrPortFrom(netip.IPv4Unspecified(), six.Local().Port())})
	for _, s := range []*Socket{six, four} {
		to := netip.AddrPortFrom(netip.IPv6Loopback(), s.Local().Port())
		if s == four {
			to = netip.AddrPortFrom(local4.Addr(), s.Local().Port())
		}
		s.NewSender().Send(espFrames(&dataplane.Path{Underlay: s, Remote: to}, 1000, 1, 100))
		if got := collect(t, s.Receivers()[0], 1); got[0].remote != to {
			t.Errorf("%v: from %v", s.Local(), got[0].remote)
		}
	}
}
