package router

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/warrenvpn/warren/routing/bgp"
	"github.com/warrenvpn/warren/routing/bgp/message"
)

// pipes is a bgp.Dialer whose neighbours are ends of pipes.
type pipes map[string]chan net.Conn

// Dial implements bgp.Dialer.
func (p pipes) Dial(ctx context.Context, n *bgp.Neighbor) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p[n.Name] <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var bothFamilies = message.FamiliesOf(message.IPv4Unicast, message.IPv6Unicast)

// open opens a session without keepalives.
func open(conn net.Conn, as uint32) error {
	o := message.OpenMessage{AS: as, RouterID: as, FourOctetAS: true, Families: bothFamilies, Graceful: new(message.Graceful)}
	if _, err := next(conn); err != nil {
		return err
	}
	if _, err := conn.Write(o.Append(nil)); err != nil {
		return err
	}
	if _, err := next(conn); err != nil {
		return err
	}
	_, err := conn.Write(message.AppendKeepalive(nil))
	return err
}

// next reads a message.
func next(conn net.Conn) ([]byte, error) {
	b := make([]byte, message.HeaderLength, message.MaxLength)
	if _, err := io.ReadFull(conn, b); err != nil {
		return nil, err
	}
	n, _, err := message.Length(b)
	if err == nil {
		b = b[:n]
		_, err = io.ReadFull(conn, b[message.HeaderLength:])
	}
	return b, err
}

// victim is a neighbour that reads what another causes, with GoBGP's eyes and with ours.
type victim struct {
	t       *testing.T
	mu      sync.Mutex
	updates int
	has     map[netip.Prefix]bool
}

func (v *victim) live(conn net.Conn) {
	families := map[gobgp.Family]gobgp.BGPAddPathMode{gobgp.RF_IPv4_UC: gobgp.BGP_ADD_PATH_NONE, gobgp.RF_IPv6_UC: gobgp.BGP_ADD_PATH_NONE}
	var u message.Update
	for {
		msg, err := next(conn)
		if err != nil {
			return
		}
		if message.Type(msg[18]) != message.TypeUpdate {
			if message.Type(msg[18]) == message.TypeNotification {
				v.t.Errorf("the victim is told %x", msg)
			}
			continue
		}
		m, err := gobgp.ParseBGPMessage(msg)
		if err == nil {
			_, err = gobgp.ValidateUpdateMsg(m.Body.(*gobgp.BGPUpdate), families, true, false, true)
		}
		if fatal(err) {
			v.t.Errorf("GoBGP would end the session: %v, for %x", err, msg)
		}
		if err := message.ParseUpdate(msg[message.HeaderLength:], &message.Options{FourOctetAS: true, Families: bothFamilies}, &u); err != nil || u.Treatment != message.Accepted {
			v.t.Errorf("%v: %v, %s, of %x", err, u.Treatment, u.Problem, msg)
		}
		v.note(&u)
	}
}

// fatal says whether an error of GoBGP's ends a session, or is about what we know. What is wrong inside of attributes that we pass on
// unknown, we cannot know.
func fatal(err error) bool {
	var m *gobgp.MessageError
	switch {
	case err == nil:
		return false
	case !errors.As(err, &m) || m.ErrorHandling >= gobgp.ERROR_HANDLING_AFISAFI_DISABLE:
		return true
	}
	switch m.SubTypeCode {
	case gobgp.BGP_ERROR_SUB_INVALID_ORIGIN_ATTRIBUTE, gobgp.BGP_ERROR_SUB_MALFORMED_AS_PATH, gobgp.BGP_ERROR_SUB_INVALID_NEXT_HOP_ATTRIBUTE,
		gobgp.BGP_ERROR_SUB_MISSING_WELL_KNOWN_ATTRIBUTE:
		return true
	}
	return false
}

func (v *victim) note(u *message.Update) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.updates++
	for _, p := range u.Withdrawn {
		delete(v.has, p)
	}
	for _, r := range u.Reach {
		for _, p := range r.Prefixes {
			v.has[p] = true
		}
	}
}

func (v *victim) heard(p netip.Prefix) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.has[p]
}

// hostileUpdate is an UPDATE whose frame is right as a rule, and what is in it as it comes.
func hostileUpdate(r *rand.Rand) []byte {
	bytes := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	attr := func(flags, typ byte, value []byte) []byte {
		if len(value) > 255 || flags&0x10 != 0 {
			return append([]byte{flags | 0x10, typ, byte(len(value) >> 8), byte(len(value))}, value...)
		}
		return append([]byte{flags, typ, byte(len(value))}, value...)
	}
	attrs := []byte(nil)
	segment := []byte{2, 2, 2, 2, 2, 1, 3, 4, 5}[r.IntN(9)]
	asPath := []byte{2, 1, 0, 0, 0xfd, 0xea, segment, byte(1 + r.IntN(20)/19), 0, byte(r.IntN(2)), 1, byte(r.IntN(10))}
	for _, usual := range [][]byte{attr(0x40, 1, []byte{byte(r.IntN(4))}), attr(0x40, 2, asPath), attr(0x40, 3, []byte{192, 0, 2, 9})} {
		if r.IntN(20) > 0 {
			attrs = append(attrs, usual...)
		}
	}
	for range r.IntN(4) {
		typ, flags, size := byte(1+r.IntN(45)), []byte{0x40, 0x80, 0xc0, 0xe0, byte(r.Uint32())}[r.IntN(5)], 4*r.IntN(5)
		switch r.IntN(8) {
		case 0:
			size = r.IntN(40)
		case 1:
			size = 3600 + r.IntN(480)
		}
		if (typ == 14 || typ == 15 || typ > 6 && flags&0x80 == 0) && r.IntN(20) > 0 {
			continue // nearly all of these end a session: malformed reachability, and what claims to be well-known
		}
		if left := 4000 - len(attrs); size <= left {
			attrs = append(attrs, attr(flags, typ, bytes(size))...)
		}
	}
	nlri := []byte(nil)
	for range r.IntN(5) {
		bits := r.IntN(33)
		nlri = append(append(nlri, byte(bits)), bytes((bits+7)/8)...)
	}
	body := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(attrs)))
	body = append(append(body, attrs...), nlri...)
	if r.IntN(10) == 0 {
		body[r.IntN(len(body))] = byte(r.Uint32())
	}
	msg := message.AppendKeepalive(nil)
	msg[18] = byte(message.TypeUpdate)
	msg = append(msg, body...)
	binary.BigEndian.PutUint16(msg[16:], uint16(len(msg)))
	return msg
}

// TestHostileNeighbor: nothing that a neighbour sends takes the session of another down.
func TestHostileNeighbor(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t)
	dialer := pipes{"victim": make(chan net.Conn), "hostile": make(chan net.Conn)}
	s, err := bgp.New(bgp.Config{Local: bgp.Local{AS: 65001, RouterID: 1}, Table: w, Dialer: dialer})
	if err != nil {
		t.Fatal(err)
	}
	var neighbors []*bgp.Neighbor
	for i, name := range []string{"victim", "hostile"} {
		n := &bgp.Neighbor{Name: name, Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(2 + i)}), AS: uint32(65003 - i), Families: bothFamilies,
			NextHop4: netip.MustParseAddr("192.0.2.1"), NextHop6: netip.MustParseAddr("2001:db8::1"), Exports: true, Timers: bgp.DefaultTimers()}
		n.Timers.Hold, n.Timers.Retry, n.Timers.ConnectRetry = 0, time.Millisecond, time.Millisecond
		n.Timers.IdleHold, n.Timers.MaxIdleHold = time.Millisecond, time.Millisecond
		neighbors = append(neighbors, n)
		w.neighbor(name, n.AS, w.a, all, all)
	}
	if err := s.Apply(neighbors); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() { _ = s.Run(ctx) }) // it returns nothing else
	defer tasks.Wait()
	defer cancel()
	v := &victim{t: t, has: map[netip.Prefix]bool{}}
	end := <-dialer["victim"]
	defer end.Close()
	if err := open(end, 65003); err != nil {
		t.Fatal(err)
	}
	tasks.Go(func() { v.live(end) })

	last := netip.MustParsePrefix("203.0.113.0/24")
	enough := func() bool { return s.Status()[0].Counters.UpdatesIn > 2000 } // hostile sorts before victim
	attack(t, dialer["hostile"], rnd, last, enough, func() bool { return v.heard(last) })
	for _, st := range s.Status() {
		t.Logf("%s: %+v", st.Name, st.Counters)
		switch {
		case st.Name == "victim" && (st.Counters.Sessions != 1 || st.LastError != "" || st.Counters.UpdatesOut < 100):
			t.Errorf("the victim: %d sessions, %d updates, last error %q", st.Counters.Sessions, st.Counters.UpdatesOut, st.LastError)
		case st.Name == "hostile" && (st.Counters.Sessions < 2 || st.Counters.TreatedAsWithdraw < 100):
			t.Errorf("the attack was none: %+v", st.Counters)
		}
	}
}

// attack is the life of a hostile neighbour until it is enough; at last it announces a good route until that is heard.
func attack(t *testing.T, conns chan net.Conn, rnd *rand.Rand, last netip.Prefix, enough, heard func() bool) {
	t.Helper()
	var conn net.Conn
	var tasks sync.WaitGroup
	t.Cleanup(func() { conn.Close(); tasks.Wait() })
	write := func(msg []byte) {
		for {
			if conn == nil {
				conn = <-conns
				if err := open(conn, 65002); err != nil {
					t.Fatal(err)
				}
				c := conn
				tasks.Go(func() {
					defer c.Close()
					for msg, err := next(c); err == nil && message.Type(msg[18]) != message.TypeNotification; msg, err = next(c) {
					}
				})
			}
			if _, err := conn.Write(msg); err == nil {
				return
			}
			conn.Close()
			conn = nil
		}
	}
	for !enough() {
		for range 20 {
			write(hostileUpdate(rnd))
		}
	}
	// The last connection may be about to end, which is only seen when something is written.
	good, _ := message.AppendUpdate(nil, message.IPv4Unicast, path(65002), []netip.Prefix{last}, &message.Options{FourOctetAS: true})
	await(t, "a good route of the hostile neighbour", func() bool { write(good); return heard() })
}
