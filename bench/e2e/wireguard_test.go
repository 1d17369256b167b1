//go:build linux

package e2e

import (
	"fmt"
	"testing"

	"github.com/warrenvpn/warren/bench/lab"
)

// TestWireGuardGo: warren and wireguard-go, each as the one that speaks first, with and without preshared keys, over both families
// and with both inside. No packet is lost, not even the first.
func TestWireGuardGo(t *testing.T) {
	atOnce(t, map[string]func(w *wg){
		"we begin":                 func(w *wg) { w.meets(true, false, lab.PairB4) },
		"we begin, psk, over IPv6": func(w *wg) { w.meets(true, true, lab.PairB6) },
		"they begin, over IPv6":    func(w *wg) { w.meets(false, false, lab.PairA6) },
		"they begin, psk":          func(w *wg) { w.meets(false, true, lab.PairA4) },
	})
}

func (w *wg) meets(weBegin, psk bool, endpoint string) {
	if psk {
		w.psk = newPSK(w.t)
	}
	at := fmt.Sprintf("%s:%d", endpoint, wgPort)
	if endpoint == lab.PairA6 || endpoint == lab.PairB6 {
		at = fmt.Sprintf("[%s]:%d", endpoint, wgPort)
	}
	if weBegin {
		w.startTheirs("")
		if psk {
			w.wrongSecret(at)
		}
		if w.warren == nil {
			w.startOurs(w.config(at, "", ""))
		}
		w.first(w.ia, "10.2.0.1")
	} else {
		w.startOurs(w.config("", "", ""))
		w.startTheirs(at)
		w.first(w.b, "10.1.0.1")
	}
	w.first(w.ia, "fd02::1")
	w.first(w.b, "10.1.0.1")
	w.first(w.b, "fd01::1")
	st := w.tunnel("peer")
	if st.State != "up" || st.WireGuard.PresharedKey != psk || st.OutPackets < 9 || st.InPackets < 9 {
		w.t.Errorf("%+v %+v", st, st.WireGuard)
	}
}

// wrongSecret: whoever has another preshared key does not get in, and does when he has the right one, without anybody starting anew.
func (w *wg) wrongSecret(at string) {
	w.t.Helper()
	theirs := func(psk string) {
		_, err := w.b.RunInput(w.ctx, psk, "wg", "set", w.peer.Device, "peer", w.keys[0].Public, "preshared-key", "/dev/stdin")
		w.must(err)
	}
	theirs(newPSK(w.t))
	w.startOurs(w.config(at, "", ""))
	if !w.silent(w.ia, "10.2.0.1") {
		w.t.Error("an answer through another preshared key")
	}
	if st := w.tunnel("peer").WireGuard; !st.LastHandshake.IsZero() {
		w.t.Errorf("a handshake with another preshared key: %+v", st)
	}
	theirs(w.psk)
}
