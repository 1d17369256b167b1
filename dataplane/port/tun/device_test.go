package tun

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/internal/until"
)

func TestOpenConfigures(t *testing.T) {
	ns := space(t, "cfg")
	log, lines := logged()
	d := open(t, Config{NetNS: ns, MTU: 1438, Queues: 2, Addresses: prefixes("10.9.0.1/24", "fd09::1/64"), Logger: log})
	if d.Name() != "warren0" || d.MTU() != 1438 || len(d.Readers()) != 2 {
		t.Fatalf("name %q, MTU %d, %d readers", d.Name(), d.MTU(), len(d.Readers()))
	}
	if lines.Len() != 0 {
		t.Errorf("this kernel has all, and yet: %s", lines)
	}
	up, mtu, qlen := flags(t, ns, d.Name())
	if up != unix.IFF_UP|unix.IFF_LOWER_UP || mtu != 1438 || qlen != DefaultTxQueueLen {
		t.Errorf("flags %#x, MTU %d, queue length %d", up, mtu, qlen)
	}
	var got []string
	in(t, ns, func() error {
		l, err := netlink.LinkByName("warren0")
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		for _, a := range addrs {
			if a.IP.IsLinkLocalUnicast() {
				continue
			}
			got = append(got, a.IPNet.String())
			if a.IP.To4() == nil && a.Flags&(unix.IFA_F_NODAD|unix.IFA_F_TENTATIVE) != unix.IFA_F_NODAD {
				t.Errorf("%v has flags %#x", a.IP, a.Flags)
			}
		}
		return err
	})
	slices.Sort(got)
	if strings.Join(got, " ") != "10.9.0.1/24 fd09::1/64" {
		t.Errorf("addresses %v", got)
	}
	for _, fd := range d.fds {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("programs that we start inherit a descriptor: %#x, %v", flags, err)
		}
	}
	if exists(t, "", "warren0") {
		t.Error("it is in our own namespace too")
	}
	second := open(t, Config{NetNS: "/run/netns/" + ns})
	if second.Name() != "warren1" || second.MTU() != DefaultMTU {
		t.Errorf("second device: %q, MTU %d", second.Name(), second.MTU())
	}
}

// TestAddressesServeAtOnce: what comes for the device's addresses right after Open is the host's.
func TestAddressesServeAtOnce(t *testing.T) {
	ns := space(t, "ready")
	for range 50 {
		d := open(t, Config{NetNS: ns, Addresses: prefixes("10.9.0.2/24", "fd09::2/64", "fd09:1::2/128")})
		in(t, ns, func() error {
			for _, a := range d.addresses {
				routes, err := netlink.RouteGet(a.Addr().AsSlice())
				if err != nil || len(routes) != 1 || routes[0].Type != unix.RTN_LOCAL {
					t.Errorf("%v: %v, %v", a, routes, err)
				}
			}
			return nil
		})
		d.Close()
	}
}

func TestSetMTU(t *testing.T) {
	ns := space(t, "mtu")
	d := open(t, Config{NetNS: ns, Addresses: prefixes("fd09::1/64")})
	if err := d.SetMTU(1280); err != nil {
		t.Fatal(err)
	}
	if _, mtu, _ := flags(t, ns, d.Name()); mtu != 1280 || d.MTU() != 1280 {
		t.Errorf("MTU %d, says %d", mtu, d.MTU())
	}
	for _, mtu := range []int{1279, 0, 65536} {
		if err := d.SetMTU(mtu); err == nil {
			t.Errorf("MTU %d was taken", mtu)
		}
	}
	d.Close()
	if err := d.SetMTU(1400); !errors.Is(err, dataplane.ErrClosed) {
		t.Errorf("MTU of a closed device: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	ns := space(t, "no")
	taken := open(t, Config{NetNS: ns, Name: "mine"})
	in(t, ns, func() error {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "bridge"}}); err != nil {
			return err
		}
		out, err := exec.Command("ip", "tuntap", "add", "kept", "mode", "tun").CombinedOutput()
		if err != nil {
			t.Errorf("ip tuntap: %s", out)
		}
		return err
	})
	old := space(t, "old")
	in(t, old, func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0) })
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	for _, c := range []struct {
		cfg  Config
		is   error
		says string
	}{
		{Config{NetNS: ns, Name: "mine"}, ErrExists, `"mine": there is a network device of that name already: another process uses it`},
		{Config{NetNS: ns, Name: "bridge"}, ErrExists, `of kind "bridge"`},
		{Config{NetNS: ns, Name: "kept"}, ErrExists, "a persistent TUN device that nobody uses; remove it with `ip link delete kept`"},
		{Config{NetNS: "wtun-nowhere"}, nil, `"wtun-nowhere" does not exist`},
		{Config{NetNS: file}, nil, "network namespace"},
		{Config{Name: "a-name-much-too-long"}, nil, "1 to 15 bytes"},
		{Config{Name: "a/b"}, nil, "no name for a device"},
		{Config{MTU: 60}, nil, "want 68 to 65535"},
		{Config{MTU: 1000, Addresses: prefixes("fd09::1/64")}, nil, "at least 1280"},
		{Config{Addresses: []netip.Prefix{{}}}, nil, "prefix length"},
		{Config{Queues: -1}, nil, "-1 queues"},
		{Config{TxQueueLen: -1}, nil, "queue of -1"},
		{Config{NetNS: old, Addresses: prefixes("10.9.0.1/24", "fd09::1/64")}, unix.EACCES, "IPv6 is turned off here"},
		{Config{NetNS: ns, Addresses: prefixes("10.9.0.1/24", "10.9.0.1/24")}, unix.EEXIST, "add address 10.9.0.1/24"},
	} {
		d, err := Open(c.cfg)
		if err == nil {
			d.Close()
			t.Errorf("%+v was opened", c.cfg)
			continue
		}
		if !strings.Contains(err.Error(), c.says) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%+v: %v; want %q", c.cfg, err, c.says)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if exists(t, ns, "warren0") {
		t.Error("a device that failed half-way is still there")
	}
	if up, _, _ := flags(t, ns, taken.Name()); up == 0 {
		t.Error("the device in the way was touched")
	}
}

func TestCloseWakesAndRemoves(t *testing.T) {
	ns := space(t, "close")
	d := open(t, Config{NetNS: ns, Queues: 3})
	done := make(chan error, 3)
	for _, r := range d.Readers() {
		go func() {
			b := packet.NewBatch(arena)
			for {
				if err := r.Read(b); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	waitAsleep(t, d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		select {
		case err := <-done:
			if !errors.Is(err, dataplane.ErrClosed) {
				t.Errorf("woken with %v", err)
			}
		case <-time.After(patience):
			t.Fatal("a reader sleeps on")
		}
	}
	if exists(t, ns, d.Name()) {
		t.Error("the device is still there")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := d.Readers()[0].Read(packet.NewBatch(arena)); !errors.Is(err, dataplane.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	b := packet.NewBatch(arena)
	b.Commit(0, copy(b.Space(100), make([]byte, 100)))
	if d.NewWriter().Write(b.Packets()); b.Packets()[0].Drop != packet.PortDown {
		t.Errorf("write: %v", b.Packets()[0].Drop)
	}
}

// waitAsleep waits until every reader holds its mutex, as it does while it is in Read.
func waitAsleep(t *testing.T, d *Device) {
	t.Helper()
	for _, u := range d.users {
		until.True(t, "a reader reads", patience, func() bool {
			free := u.mu.TryLock()
			if free {
				u.mu.Unlock()
			}
			return !free
		})
	}
}

func TestOpenAndCloseLeakNothing(t *testing.T) {
	ns := space(t, "leak")
	open(t, Config{NetNS: ns}).Close()
	before := descriptors(t)
	for i := range 100 {
		d, err := Open(Config{NetNS: ns, Name: "same", Queues: 1 + i%2, Addresses: prefixes("10.9.0.1/24")})
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		var wg sync.WaitGroup
		for _, r := range d.Readers() {
			serve(t, &wg, r, func([]packet.Packet) {})
		}
		d.Close()
		wg.Wait()
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestRemovedByOthers(t *testing.T) {
	ns := space(t, "gone")
	d := open(t, Config{NetNS: ns})
	done := make(chan error, 1)
	go func() {
		b := packet.NewBatch(arena)
		for {
			if err := d.Readers()[0].Read(b); err != nil {
				done <- err
				return
			}
		}
	}()
	waitAsleep(t, d)
	in(t, ns, func() error { return netlink.LinkDel(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: d.Name()}}) })
	select {
	case err := <-done:
		if errors.Is(err, dataplane.ErrClosed) || !strings.Contains(err.Error(), "removed") {
			t.Errorf("read: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the reader does not notice")
	}
	b := packet.NewBatch(arena)
	b.Commit(0, copy(b.Space(100), udp4(t, 1, 72)))
	if d.NewWriter().Write(b.Packets()); b.Packets()[0].Drop != packet.PortDown {
		t.Errorf("write: %v", b.Packets()[0].Drop)
	}
}

func TestWriteWhileDown(t *testing.T) {
	ns := space(t, "down")
	d := open(t, Config{NetNS: ns})
	in(t, ns, func() error { return netlink.LinkSetDown(d.link) })
	b := packet.NewBatch(arena)
	b.Commit(0, copy(b.Space(100), udp4(t, 1, 72)))
	if d.NewWriter().Write(b.Packets()); b.Packets()[0].Drop != packet.PortDown {
		t.Errorf("write: %v", b.Packets()[0].Drop)
	}
	f := newFlow(false, false)
	pkts := batchOf(t, f.next(fill(100, 1)), f.next(fill(100, 1)))
	if d.NewWriter().Write(pkts); pkts[0].Drop != packet.PortDown || pkts[1].Drop != packet.PortDown {
		t.Errorf("write of what is joined: %v, %v", pkts[0].Drop, pkts[1].Drop)
	}
	b.Reset()
	b.Commit(0, copy(b.Space(100), make([]byte, 100)))
	in(t, ns, func() error { return netlink.LinkSetUp(d.link) })
	if d.NewWriter().Write(b.Packets()); b.Packets()[0].Drop != packet.BadOffload {
		t.Errorf("write of what is no IP packet: %v", b.Packets()[0].Drop)
	}
}

func TestFallbacksSaySoOnce(t *testing.T) {
	ns := space(t, "poor")
	for _, c := range []struct {
		lacks features
		says  string
		vnet  bool
	}{
		{features{multiQueue: true}, "lacking=multi-queue\n", true},
		{features{vnet: true}, "lacking=\"virtio network header\"", false},
		{features{tso: true}, "TSO", true},
		{features{uso: true}, "lacking=\"UDP segmentation offload (USO)\"", true},
	} {
		log, lines := logged()
		d, err := Open(Config{NetNS: ns, Queues: 2, Logger: log, lacks: c.lacks})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(lines.String(), "\n") != 1 || !strings.Contains(lines.String(), c.says) {
			t.Errorf("%+v: said %q", c.lacks, lines)
		}
		if want := map[bool]int{true: 1, false: 2}[c.lacks.multiQueue]; len(d.Readers()) != want || d.vnetLen > 0 != c.vnet {
			t.Errorf("%+v: %d readers, header of %d bytes", c.lacks, len(d.Readers()), d.vnetLen)
		}
		d.Close()
	}
}

func TestPing(t *testing.T) {
	for name, lacks := range map[string]features{"all": {}, "bare": {vnet: true}} {
		t.Run(name, func(t *testing.T) {
			ns := space(t, "ping")
			d := open(t, Config{NetNS: ns, Addresses: prefixes("10.9.0.1/24", "fd09::1/64"), lacks: lacks})
			var wg sync.WaitGroup
			w := d.NewWriter()
			serve(t, &wg, d.Readers()[0], func(pkts []packet.Packet) {
				for i := range pkts {
					reflectEcho(&pkts[i])
				}
				w.Write(pkts)
			})
			for _, to := range []string{"10.9.0.2", "fd09::2"} {
				for _, size := range []string{"56", "1400"} {
					out, err := exec.Command("ip", "netns", "exec", ns, "ping", "-c", "3", "-i", "0.05", "-W", "5", "-s", size, to).CombinedOutput()
					if err != nil {
						t.Errorf("ping %s of %s bytes: %v\n%s", to, size, err, out)
					}
				}
			}
			d.Close()
			wg.Wait()
		})
	}
}

// reflectEcho turns an echo request into its reply, whose checksum the kernel verifies, and drops everything else.
func reflectEcho(p *packet.Packet) {
	b := p.Bytes()
	l4, request, reply := 20, byte(8), byte(0)
	if b[0]>>4 == 6 {
		l4, request, reply = 40, 128, 129
	}
	if len(b) < l4+8 || b[l4] != request || b[0]>>4 == 4 && (b[9] != 1 || b[6]&0x3f != 0 || b[7] != 0) || b[0]>>4 == 6 && b[6] != 58 {
		p.Drop = packet.NotForwardable
		return
	}
	if l4 == 20 {
		swap(b[12:16], b[16:20])
	} else {
		swap(b[8:24], b[24:40])
	}
	b[l4] = reply
	sum := uint32(b[l4+2])<<8 | uint32(b[l4+3])
	sum += uint32(request-reply) << 8 // ones' complement: the type became smaller by that
	if request < reply {
		sum = (uint32(b[l4+2])<<8 | uint32(b[l4+3])) + 0xffff - uint32(reply-request)<<8
	}
	sum = sum>>16 + sum&0xffff
	b[l4+2], b[l4+3] = byte(sum>>8), byte(sum)
}

func swap(a, b []byte) {
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
}
