package warren

import (
	"bytes"
	"slices"
	"testing"

	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/tunnel/ike"
	"github.com/warrenvpn/warren/tunnel/ipsec"
)

// keyed is a keying with children of one tunnel, in order, by the names of their configuration. Their inbound SPIs count from 1001.
func keyed(t *testing.T, names ...string) (*keying, *tunnel) {
	t.Helper()
	gw := ipsec.NewGateway(ipsec.Options{})
	tun := &tunnel{cfg: &TunnelConfig{Name: "peer"}, ipsec: gw.NewTunnel(1, ipsec.Config{Name: "peer"})}
	k := &keying{children: map[uint32]*liveChild{}}
	for i, name := range names {
		in, out := uint32(1001+i), uint32(2001+i)
		key := bytes.Repeat([]byte{byte(i + 1)}, esp.AES128GCM16.KeyLen())
		c := &ipsec.Child{Name: name, Local: selectors(nil), Remote: selectors(nil)}
		var err error
		if c.Out, err = esp.NewOutbound(esp.Config{SPI: out, Suite: esp.AES128GCM16, Key: key}); err != nil {
			t.Fatal(err)
		}
		if c.In, err = esp.NewInbound(esp.Config{SPI: in, Suite: esp.AES128GCM16, Key: key, ReplayWindow: esp.DefaultReplayWindow}); err != nil {
			t.Fatal(err)
		}
		if err := tun.ipsec.AddChild(c); err != nil {
			t.Fatal(err)
		}
		k.children[in] = &liveChild{tunnel: tun, child: c, sa: ike.ChildSA{Name: name, In: in, Out: out}}
	}
	return k, tun
}

// order are the inbound SPIs of the children that seal, in order.
func (t *tunnel) order() (all []uint32) {
	for _, c := range t.ipsec.Sealing() {
		all = append(all, c.In.SPI())
	}
	return all
}

// TestOutbound: the child SA that the machine chose for what leaves comes in front of its twins and of nothing else, and the twins go
// on sealing behind it; the one that takes the place of another has that seal no more.
func TestOutbound(t *testing.T) {
	for _, c := range []struct {
		what    string
		names   []string
		instead uint32 // of the last child
		in      uint32
		want    []uint32
	}{
		{"a twin", []string{"a", "a"}, 0, 1002, []uint32{1002, 1001}},
		{"the last of three", []string{"a", "a", "a"}, 0, 1003, []uint32{1003, 1001, 1002}},
		{"the first already", []string{"a", "a"}, 0, 1001, []uint32{1001, 1002}},
		{"behind another child", []string{"b", "a", "a"}, 0, 1003, []uint32{1001, 1003, 1002}},
		{"alone", []string{"b", "a"}, 0, 1002, []uint32{1001, 1002}},
		{"in place of the first", []string{"a", "b", "a"}, 1001, 1003, []uint32{1003, 1002}},
		{"one that is not there", []string{"a", "a"}, 0, 9, []uint32{1001, 1002}},
	} {
		k, tun := keyed(t, c.names...)
		if c.instead != 0 {
			k.children[1000+uint32(len(c.names))].instead = c.instead
		}
		k.outbound(c.in)
		if got := tun.order(); !slices.Equal(got, c.want) {
			t.Errorf("%s: packets leave by %v, want %v", c.what, got, c.want)
		}
		k.outbound(c.in)
		if got := tun.order(); !slices.Equal(got, c.want) {
			t.Errorf("%s, chosen again: packets leave by %v, want %v", c.what, got, c.want)
		}
	}
}

// TestOutboundOfAnother: twins of another tunnel are no twins.
func TestOutboundOfAnother(t *testing.T) {
	k, one := keyed(t, "a", "a")
	other, two := keyed(t, "a", "a")
	for in, live := range other.children {
		k.children[in+100] = live
	}
	k.outbound(1102)
	if !slices.Equal(one.order(), []uint32{1001, 1002}) || !slices.Equal(two.order(), []uint32{1002, 1001}) {
		t.Errorf("packets leave by %v and %v", one.order(), two.order())
	}
}
