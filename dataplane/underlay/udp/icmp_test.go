package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// TestPathErrorsOfEveryPeer: the kernel hands an ICMP error to one of the sockets that share the port, by a hash of the addresses
// that nobody chooses. It must be heard whichever that is.
func TestPathErrorsOfEveryPeer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to make ICMP errors")
	}
	ownNetwork(t) // what the kernel learns from them is not for others
	s := open(t, Config{Local: local4})
	icmp, err := net.ListenPacket("ip4:icmp", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer icmp.Close()
	local := s.Local()
	error4 := make([]byte, wire.MaxICMP)
	for port := uint16(5000); port < 5032; port++ {
		remote := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), port)
		sent := make([]byte, wire.IPv4HeaderLen+wire.UDPHeaderLen+40)
		sent[0], sent[8], sent[9] = 0x45, 64, wire.ProtoUDP
		binary.BigEndian.PutUint16(sent[2:], uint16(len(sent)))
		copy(sent[12:], local.Addr().AsSlice())
		copy(sent[16:], remote.Addr().AsSlice())
		wire.SetIPv4Checksum(sent)
		u := sent[wire.IPv4HeaderLen:]
		binary.BigEndian.PutUint16(u, local.Port())
		binary.BigEndian.PutUint16(u[2:], port)
		binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
		binary.BigEndian.PutUint32(u[8:], 0xcafe0000|uint32(port)) // the SPI
		n := wire.PutICMPError(error4, wire.ErrTooBig, remote.Addr(), sent, 1300)
		if _, err := icmp.WriteTo(error4[wire.IPv4HeaderLen:n], &net.IPAddr{IP: local.Addr().AsSlice()}); err != nil {
			t.Fatal(err)
		}
		e := pathError(t, s)
		if e.Remote != remote || e.MTU != 1300 || len(e.Quote) < 4 || binary.BigEndian.Uint32(e.Quote) != 0xcafe0000|uint32(port) {
			t.Fatalf("heard %+v of the peer at %v", e, remote)
		}
	}
}

// ownNetwork puts the test's goroutine into a network of its own with a loopback device, which ends with the goroutine's thread.
func ownNetwork(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	err := unix.Unshare(unix.CLONE_NEWNET)
	if err == nil {
		var lo netlink.Link
		if lo, err = netlink.LinkByName("lo"); err == nil {
			err = netlink.LinkSetUp(lo)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// pathError waits for an ICMP error.
func pathError(t *testing.T, s *Socket) (e dataplane.PathError) {
	t.Helper()
	found := make(chan dataplane.PathError, 1)
	go func() {
		var rx dataplane.Rx
		for len(rx.Errors) == 0 {
			if s.Receivers()[0].Recv(&rx) != nil {
				close(found)
				return
			}
		}
		found <- rx.Errors[0]
	}()
	select {
	case e = <-found:
		return e
	case <-time.After(patience):
	}
	t.Fatal("no error was heard")
	return e
}
