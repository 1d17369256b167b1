package ike

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
	"github.com/warrenvpn/warren/tunnel/ike/proposal"
)

func TestHandshakePSK(t *testing.T) {
	for _, ike := range []string{"aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048", "chacha20poly1305-prfsha256-curve25519"} {
		t.Run(ike, func(t *testing.T) {
			p := newPair(t, 1)
			p.moonCfg.Proposals, p.sunCfg.Proposals = ikeList(t, ike), ikeList(t, ike)
			p.up()
			up := find[ChildUp](p.moon)[0]
			if up.Suite != "aes256gcm16" || !up.ESN || up.Encap || !up.ByUs || len(up.InKey) != 36 {
				t.Errorf("child %+v", up)
			}
			if got := find[IKEUp](p.sun)[0]; !got.RemoteID.Equal(fqdn("moon")) || got.Initiator {
				t.Errorf("sun's IKE SA %+v", got)
			}
		})
	}
}

// What is lost is sent again octet for octet, and answered so.
func TestRetransmission(t *testing.T) {
	p := newPair(t, 2)
	p.add()
	requests, answers := map[string]int{}, map[string]int{}
	p.filter = func(k *packet) bool {
		h, err := message.ParseHeader(k.data)
		if err != nil {
			t.Fatal(err)
		}
		seen := requests
		if h.Response() {
			seen = answers
		}
		seen[string(k.data)]++
		return h.Response() && seen[string(k.data)] > 1 || !h.Response() && seen[string(k.data)] > 1
	}
	p.moon.must(p.moon.Initiate(p.now, "sun", ""))
	p.run(time.Minute)
	p.agree(1)
	// IKE_SA_INIT and IKE_AUTH: each request is lost once, its answer is lost once, the third request is answered again.
	if len(requests) != 2 || len(answers) != 2 {
		t.Errorf("%d different requests, %d different answers, want 2 and 2", len(requests), len(answers))
	}
	for _, n := range requests {
		if n != 3 {
			t.Errorf("a request was sent %d times, want 3", n)
		}
	}
}

func TestBackOff(t *testing.T) {
	p := newPair(t, 3)
	p.moonCfg.KeyingTries = 1
	p.add()
	var at []time.Duration
	start := p.now
	p.filter = func(*packet) bool { at = append(at, p.now.Sub(start)); return false }
	p.moon.must(p.moon.Initiate(p.now, "sun", ""))
	p.run(time.Hour)
	if len(at) != 6 {
		t.Fatalf("sent %d times, want 6: %v", len(at), at)
	}
	for i, want := range []time.Duration{0, 2e9, 5.6e9, 12.08e9, 23.744e9, 44.7392e9} {
		if d := at[i] - want; d.Abs() > time.Millisecond {
			t.Errorf("transmission %d at %v, want %v", i, at[i], want)
		}
	}
	if down := find[IKEDown](p.moon); len(down) != 1 || !errors.Is(down[0].Reason, errTimeout) {
		t.Errorf("down: %+v", down)
	}
}

func TestInvalidKE(t *testing.T) {
	p := newPair(t, 4)
	p.moonCfg.Proposals = ikeList(t, "aes256gcm16-prfsha256-curve25519-ecp384")
	p.sunCfg.Proposals = ikeList(t, "aes256gcm16-prfsha256-ecp384")
	p.up()
	if suite := find[IKEUp](p.moon)[0].Suite; !strings.Contains(suite, "ecp384") {
		t.Errorf("suite %s", suite)
	}
}

func TestCookie(t *testing.T) {
	p := newPair(t, 5)
	p.sun.cfg.CookieThreshold = 0
	cookies := 0
	p.filter = func(k *packet) bool {
		if m, err := message.Parse(k.data); err == nil && m.Response() && message.FindNotify(m.Payloads, message.Cookie) != nil {
			cookies++
			if len(p.sun.Endpoint.sas) != 0 {
				t.Error("a cookie was asked for, and yet there is state")
			}
		}
		return true
	}
	p.up()
	if cookies != 1 {
		t.Errorf("%d cookies, want 1", cookies)
	}
}

// floodRequest is an IKE_SA_INIT that moon might send.
func floodRequest(t testing.TB, i uint64, list proposal.List) []byte {
	group, err := list.Guess().Group()
	if err != nil {
		t.Fatal(err)
	}
	x, err := group.Begin()
	if err != nil {
		t.Fatal(err)
	}
	m := message.Message{Header: message.Header{SPIi: i + 1, Exchange: message.IKESAInit, Flags: message.FlagInitiator}}
	m.Payloads = []message.Payload{&message.SA{Proposals: list.Offer(nil)}, &message.KE{Method: uint16(list.Guess()), Data: x.Public()},
		&message.Nonce{Data: bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 16)}}
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A flood from many addresses is met with cookies from the threshold on, and leaves the established alone.
func TestHalfOpenFlood(t *testing.T) {
	p := newPair(t, 6)
	p.up()
	template := p.sunCfg
	template.Name, template.Remote = "any", netip.Addr{}
	p.sun.must(p.sun.AddPeer(p.now, template))
	before := len(p.sun.Endpoint.sas)
	logs := len(p.sun.logs)
	for i := range uint64(1000) {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 500)
		p.sun.do(p.sun.Receive(p.now, p.sun.addr, from, false, floodRequest(t, i, p.sunCfg.Proposals)))
	}
	if n := len(p.sun.Endpoint.sas) - before; n != 100 {
		t.Errorf("%d half-open, want 100", n)
	}
	if n := len(p.sun.logs) - logs; n > maxNoise {
		t.Errorf("%d log entries", n)
	}
	p.moon.must(p.moon.Rekey(p.now, "sun", "net"))
	p.run(time.Minute)
	p.agree(1)
}

func TestNATDetectionAndFloat(t *testing.T) {
	for _, tc := range []struct {
		name        string
		nat         bool
		encap       Encap
		noPort      bool
		wantNATT    bool
		wantEncap   bool
		wantBehind  bool
		wantRemotes int
	}{
		{name: "no NAT"},
		{name: "NAT", nat: true, wantNATT: true, wantEncap: true, wantBehind: true},
		{name: "forced", encap: EncapAlways, wantNATT: true, wantEncap: true},
		{name: "never", nat: true, encap: EncapNever},
		{name: "from 4500", noPort: true, wantNATT: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPair(t, 7)
			p.moonCfg.Encap = tc.encap
			p.sunCfg.Remote = netip.Addr{}
			if tc.noPort {
				p.moon.cfg.Port = NoPort
			}
			if tc.nat {
				p.nat = map[netip.AddrPort]netip.AddrPort{
					netip.MustParseAddrPort("192.0.2.1:500"):  netip.MustParseAddrPort("203.0.113.9:1500"),
					netip.MustParseAddrPort("192.0.2.1:4500"): netip.MustParseAddrPort("203.0.113.9:14500"),
				}
			}
			p.up()
			up := find[ChildUp](p.moon)[0]
			if up.Path.NATT != tc.wantNATT || up.Encap != tc.wantEncap || up.BehindNAT != tc.wantBehind {
				t.Errorf("moon: NATT %v, encap %v, behind NAT %v", up.Path.NATT, up.Encap, up.BehindNAT)
			}
			other := find[ChildUp](p.sun)[0]
			if other.Encap != tc.wantEncap || other.BehindNAT {
				t.Errorf("sun: encap %v, behind NAT %v", other.Encap, other.BehindNAT)
			}
			if tc.wantBehind && other.Path.Remote != netip.MustParseAddrPort("203.0.113.9:14500") {
				t.Errorf("sun sees moon at %v", other.Path.Remote)
			}
		})
	}
}

func TestPeerMoves(t *testing.T) {
	p := newPair(t, 8)
	p.sunCfg.Remote = netip.Addr{}
	p.moonCfg.DPDDelay = 10 * time.Second
	inner := netip.MustParseAddrPort("192.0.2.1:4500")
	p.nat = map[netip.AddrPort]netip.AddrPort{inner: netip.MustParseAddrPort("203.0.113.9:14500")}
	p.nat[netip.MustParseAddrPort("192.0.2.1:500")] = netip.MustParseAddrPort("203.0.113.9:1500")
	p.up()
	p.nat[inner] = netip.MustParseAddrPort("203.0.113.9:24500")
	p.run(12 * time.Second)
	moved := find[PeerMoved](p.sun)
	if len(moved) != 1 || moved[0].Path.Remote.Port() != 24500 || moved[0].From.Remote.Port() != 14500 {
		t.Fatalf("moved: %+v", moved)
	}
	p.sun.must(p.sun.Rekey(p.now, "moon", "net"))
	p.run(10 * time.Second)
	if n := len(find[ChildRekeyed](p.moon)); n != 1 {
		t.Errorf("%d rekeyings arrived behind the NAT", n)
	}
}

func TestFragmentation(t *testing.T) {
	for _, loss := range []float64{0, 0.2} {
		t.Run(fmt.Sprint(loss), func(t *testing.T) {
			p := newPair(t, 9)
			p.moon.cfg.FragmentSize, p.sun.cfg.FragmentSize = 300, 300
			largest := 0
			p.filter = func(k *packet) bool {
				if m, err := message.Parse(k.data); err == nil && message.Find[*message.SKF](m.Payloads) != nil {
					largest = max(largest, len(k.data)+ipv4UDP)
				}
				return true
			}
			p.loss, p.double, p.jitter = loss, loss, 50*time.Millisecond
			p.moonCfg.Children[0].Proposals = espList(t, "default,aes128-sha256,aes256gcm16")
			p.add()
			p.moon.must(p.moon.Initiate(p.now, "sun", ""))
			p.run(2 * time.Minute)
			p.agree(1)
			if largest == 0 || largest > 300 {
				t.Errorf("the largest fragment has %d bytes", largest)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(p *pair)
		moon   string // in an error that moon logs
		sun    string
	}{
		{"secret", func(p *pair) { p.sunCfg.Credentials.(*PSK).Secret = Secret("another") }, "AUTHENTICATION_FAILED", "secrets"},
		{"identity", func(p *pair) { p.moonCfg.Credentials.(*PSK).Local = fqdn("mars") }, "AUTHENTICATION_FAILED", "offered mars"},
		{"our identity", func(p *pair) { p.moonCfg.Credentials.(*PSK).Remote = fqdn("venus") }, "AUTHENTICATION_FAILED", "asked for venus"},
		{"proposal", func(p *pair) { p.sunCfg.Proposals = ikeList(t, "aes128-sha256-modp3072") }, "NO_PROPOSAL_CHOSEN", "wanted is aes128-sha256-modp3072"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPair(t, 10)
			p.moonCfg.KeyingTries = 2
			tc.change(p)
			p.add()
			p.moon.must(p.moon.Initiate(p.now, "sun", ""))
			p.run(time.Hour)
			p.agree(0)
			logged := func(nd *node, text string) bool {
				return slices.ContainsFunc(nd.logs, func(l Log) bool { return l.Err != nil && strings.Contains(l.Err.Error(), text) })
			}
			if !logged(p.moon, tc.moon) || !logged(p.sun, tc.sun) {
				p.dump()
				t.Errorf("wanted %q and %q in the logs", tc.moon, tc.sun)
			}
			if len(find[IKEUp](p.moon))+len(find[IKEUp](p.sun)) != 0 {
				t.Error("it was up")
			}
			if p.carried > 40 {
				t.Errorf("%d datagrams for two tries", p.carried)
			}
		})
	}
}

// The responder's proof is wrong: the initiator tells it, and both are rid of it.
func TestResponderNotAuthentic(t *testing.T) {
	p := newPair(t, 11)
	p.moonCfg.KeyingTries = 1
	p.sunCfg.Credentials = &oddPSK{p.sunCfg.Credentials.(*PSK)}
	p.add()
	p.moon.must(p.moon.Initiate(p.now, "sun", ""))
	p.run(time.Minute)
	p.agree(0)
	if !p.moon.logged(errAuthentication) {
		t.Error("moon did not log it")
	}
}

// oddPSK verifies with the right secret and signs with a wrong one.
type oddPSK struct{ *PSK }

func (o *oddPSK) Sign(proof Proof) (*message.Auth, []*message.Cert, error) {
	return &message.Auth{Method: message.AuthSharedKey, Data: crypto.SharedKey(proof.PRF, []byte("wrong"), proof.Octets)}, nil, nil
}

// What is not authenticated ends nothing: errors in answers to IKE_SA_INIT, and any change to a protected message.
func TestForgeriesEndNothing(t *testing.T) {
	p := newPair(t, 12)
	p.add()
	p.filter = func(k *packet) bool {
		h, _ := message.ParseHeader(k.data)
		for _, n := range []*message.Notify{{Type: message.NoProposalChosen}, {Type: message.InvalidSyntax},
			{Type: message.AuthenticationFailed}, message.NotifyUint16s(message.InvalidKEPayload, 14), {Type: message.Cookie}} {
			m := message.Message{Header: h, Payloads: []message.Payload{n}}
			m.Flags = message.FlagResponse
			b, err := m.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			p.moon.do(p.moon.Receive(p.now, p.moon.addr, p.sun.addr, false, b))
		}
		bad := slices.Clone(k.data)
		bad[len(bad)-1] ^= 1
		if h.Exchange != message.IKESAInit {
			for _, nd := range p.nodes {
				nd.do(nd.Receive(p.now, k.to, k.from, k.natt, bad))
			}
		}
		return true
	}
	p.moon.must(p.moon.Initiate(p.now, "sun", ""))
	p.run(time.Minute)
	p.agree(1)
}

// An initiator may write our name in another way than we do.
func TestOurNameInOtherLetters(t *testing.T) {
	p := newPair(t, 13)
	p.moonCfg.Credentials = &PSK{Secret: Secret("a shared secret"), Local: fqdn("moon"), Remote: fqdn("Sun")}
	p.moonCfg.Credentials = anyCase{p.moonCfg.Credentials.(*PSK)}
	p.sunCfg.Credentials = anyCase{p.sunCfg.Credentials.(*PSK)}
	p.up()
}

// anyCase is a PSK whose names are those of the DNS.
type anyCase struct{ *PSK }

func (a anyCase) IsLocalID(id message.ID) bool {
	return id.Type == a.Local.Type && strings.EqualFold(string(id.Data), string(a.Local.Data))
}

func (a anyCase) AcceptsID(id message.ID) error {
	if id.Type != a.Remote.Type || !strings.EqualFold(string(id.Data), string(a.Remote.Data)) {
		return errors.New("another")
	}
	return nil
}
