package tun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane/packet"
)

// TestTake: a device whose queues were lent stays when its maker closes it, with its routes and MTU. Who takes it has what it wants
// of addresses and queues, and the packets that came meanwhile.
func TestTake(t *testing.T) {
	for _, queues := range [][2]int{{1, 1}, {2, 2}, {2, 1}, {2, 3}, {1, 2}} {
		ns := space(t, fmt.Sprintf("take%d%d", queues[0], queues[1]))
		first := open(t, Config{NetNS: ns, Name: "same", MTU: 1400, Queues: queues[0], Addresses: prefixes("10.9.0.1/24", "10.8.0.1/24", "fd09::1/64")})
		link := func() (index, mtu int, up bool, addresses []string, route bool) {
			in(t, ns, func() error {
				l, err := netlink.LinkByName("same")
				if err != nil {
					return err
				}
				all, err := netlink.AddrList(l, netlink.FAMILY_ALL)
				for _, a := range all {
					if !a.IP.IsLinkLocalUnicast() {
						addresses = append(addresses, a.IPNet.String())
					}
				}
				slices.Sort(addresses)
				routes, _ := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: network(t, "10.77.0.0/16")}, netlink.RT_FILTER_DST)
				index, mtu, up, route = l.Attrs().Index, l.Attrs().MTU, l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0, len(routes) == 1
				return err
			})
			return index, mtu, up, addresses, route
		}
		index, _, _, _, _ := link()
		in(t, ns, func() error {
			return netlink.RouteAdd(&netlink.Route{LinkIndex: index, Dst: network(t, "10.77.0.0/16")})
		})
		lent, err := first.Lend()
		if err != nil {
			t.Fatal(err)
		}
		first.Close()
		if _, err := first.Lend(); err == nil {
			t.Error("a closed device is lent")
		}
		sendInto(t, ns, "10.77.0.1:9")
		second := open(t, Config{NetNS: ns, Name: "same", Queues: queues[1], Addresses: prefixes("10.9.0.1/24", "10.7.0.1/24", "fd09::1/64"), Taken: lent})
		now, mtu, up, addresses, route := link()
		if now != index || mtu != 1400 || second.MTU() != 1400 || !up || !route {
			t.Errorf("%v queues: device %d, which was %d, MTU %d and %d, up %v, route %v", queues, now, index, mtu, second.MTU(), up, route)
		}
		if got := strings.Join(addresses, " "); got != "10.7.0.1/24 10.9.0.1/24 fd09::1/64" {
			t.Errorf("addresses %s", got)
		}
		want := queues[1]
		if queues[0] == 1 {
			want = 1 // such a device has no more
		}
		if len(second.Readers()) != want {
			t.Errorf("%v queues: %d", queues, len(second.Readers()))
		}
		if queues == [2]int{1, 1} {
			late := time.AfterFunc(patience, func() { second.Close() })
			b := packet.NewBatch(arena)
			for found := false; !found; {
				if err := second.Readers()[0].Read(b); err != nil {
					t.Fatal("what came meanwhile is lost: ", err)
				}
				for _, p := range b.Packets() {
					found = found || len(p.Bytes()) > 20 && netip.AddrFrom4([4]byte(p.Bytes()[16:20])) == netip.MustParseAddr("10.77.0.1")
				}
			}
			late.Stop()
		}
		second.Close()
		if exists(t, ns, "same") {
			t.Error("the device is still there")
		}
	}
}

// TestTakeRefuses: what is no queue of the device is not taken, and closed.
func TestTakeRefuses(t *testing.T) {
	ns := space(t, "refuse")
	other := open(t, Config{NetNS: ns, Name: "other"})
	before := descriptors(t)
	lent, err := other.Lend()
	if err != nil {
		t.Fatal(err)
	}
	pipe := make([]int, 2)
	if err := unix.Pipe2(pipe, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	for _, taken := range [][]int{lent, pipe} {
		if d, err := Open(Config{NetNS: ns, Name: "same", Taken: taken}); !errors.Is(err, errNotLent) {
			t.Errorf("%v, %v", d, err)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func network(t *testing.T, prefix string) *net.IPNet {
	t.Helper()
	_, n, err := net.ParseCIDR(prefix)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sendInto sends a datagram from a namespace.
func sendInto(t *testing.T, ns, to string) {
	t.Helper()
	in(t, ns, func() error {
		c, err := net.Dial("udp", to)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("meanwhile"))
		return err
	})
}
