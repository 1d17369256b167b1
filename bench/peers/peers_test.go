//go:build linux

package peers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/warrenvpn/warren/bench/lab"
)

// bare is a contender without a tunnel: the inner addresses over the veth itself.
type bare struct{}

func (bare) Name() string                            { return "bare" }
func (bare) Version(context.Context) (string, error) { return "0", nil }
func (bare) Up(_ context.Context, n *Network) (string, error) {
	return "eth0", errors.Join(n.A.AddAddress("eth0", innerA+"/8"), n.B.AddAddress("eth0", innerB+"/8"))
}

// broken never comes up.
type broken struct{ bare }

func (broken) Name() string                                 { return "broken" }
func (broken) Up(context.Context, *Network) (string, error) { return "", errors.New("a reason") }

func TestMeasureGoesOnWithoutABrokenContender(t *testing.T) {
	lab.ForTest(t, "iperf3", "ping")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	for try := 1; ; try++ { // rates of a second are nothing on a machine that stands still for as long
		wrong := measureBroken(ctx, t)
		if wrong == nil {
			return
		}
		if try == 8 {
			t.Fatal(wrong)
		}
		t.Logf("try %d: %v", try, wrong)
	}
}

// measureBroken says what is wrong with rates.
func measureBroken(ctx context.Context, t *testing.T) error {
	t.Helper()
	o := Options{Rounds: 1, TCPTime: time.Second, UDPTime: time.Second, Sizes: []int{300},
		MaxLoss: 0.5, MaxRate: 4000, Steps: 1, Log: t.Logf}
	results, err := Measure(ctx, []Contender{broken{}, bare{}}, o)
	if err == nil || !strings.Contains(err.Error(), "bring broken up: a reason") {
		t.Errorf("error %v, want what broke", err)
	}
	good, bad := results.Contenders[1], results.Contenders[0]
	if good.MTU != "1500" || len(good.Values[titleTCP]) != 1 || len(good.Values[titleUDP(300)]) != 1 {
		t.Errorf("bare: %+v", good)
	}
	if len(bad.Values[titleTCP]) != 1 || !math.IsNaN(bad.Values[titleTCP][0]) {
		t.Errorf("broken: %+v", bad)
	}
	// What is not measured is NaN, which no comparison holds for.
	if gbits, kpps := good.Values[titleTCP][0], good.Values[titleUDP(300)][0]; !(gbits > 0 && kpps >= 1 && kpps <= 2.2) {
		return fmt.Errorf("bare: %v Gbit/s, at 2000 datagrams a second %v kpps: %w", gbits, kpps, err)
	}
	return nil
}

// Each real peer comes up and carries a packet; what it measures is the benchmark's affair.
func TestPeersComeUp(t *testing.T) {
	lab.ForTest(t, append(append(lab.StrongSwanPrograms, lab.WireGuardPrograms...), "ping")...)
	contenders, err := Contenders([]string{"strongswan", "wireguard-go"}, "")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Rounds: 1, Log: t.Logf}
	results := []*Result{{}, {}}
	r := round{contenders: contenders, results: results, networks: make([]*Network, 2)}
	if err := r.run(t.Context(), nil, 0, o.Log); err != nil {
		t.Fatal(err)
	}
	if results[0].MTU != "1400" || results[1].MTU != "1420" {
		t.Errorf("MTU of strongSwan %s and wireguard-go %s, want 1400 and 1420", results[0].MTU, results[1].MTU)
	}
	for _, c := range contenders {
		if version, err := c.Version(t.Context()); err != nil || !regexp.MustCompile(`^v?\d+\.\d+\.`).MatchString(version) {
			t.Errorf("version of %s: %q, %v", c.Name(), version, err)
		}
	}
}

func TestContendersNamesAreChecked(t *testing.T) {
	if _, err := Contenders([]string{"warren", "openvpn"}, ""); err == nil || !strings.Contains(err.Error(), `"openvpn"`) {
		t.Errorf("error %v, want one that names openvpn", err)
	}
}

func TestWriteTable(t *testing.T) {
	results := &Results{
		Options:    Options{Rounds: 3, MaxLoss: 0.005},
		Quantities: []string{titleTCP, titleUDP(64)},
		Contenders: []*Result{
			{Name: "wireguard-go", Version: "v1", MTU: "1420", Values: map[string][]float64{
				titleTCP: {1, 2, 4}, titleUDP(64): {10, 20, 40}}},
			{Name: "warren", Version: "v2", MTU: "1438", Values: map[string][]float64{
				titleTCP: {2.5, 5, 10}, titleUDP(64): {20, math.NaN(), 80}}},
		},
	}
	var out strings.Builder
	if err := results.Write(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`cores of .*Linux .*go1`,
		`wireguard-go: v1`,
		`warren +1438 +5\.00 \(2\.50 to 10\.00\) +50\.00 \(20\.00 to 80\.00\)`,
		`warren ÷ wireguard-go +2\.50 x \(2\.50 to 2\.50\) target ≥ 2 met +2\.00 x \(2\.00 to 2\.00\) target ≥ 3 missed`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// What one end sends under is what the other opens with, and the keys are new every time.
func TestStaticConfigsMatch(t *testing.T) {
	type sa struct {
		SPI uint32
		Key string
	}
	type config struct {
		Tunnels map[string]struct {
			IPsec struct {
				Remote string
				Static struct {
					StateFile string `yaml:"state_file"`
					Out, In   sa
				}
			}
		}
	}
	a, b, err := staticConfigs("dir")
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]config
	for i, text := range []string{a, b} {
		if err := yaml.Unmarshal([]byte(text), &ends[i]); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	ipsecA, ipsecB := ends[0].Tunnels["peer"].IPsec, ends[1].Tunnels["peer"].IPsec
	if ipsecA.Static.Out != ipsecB.Static.In || ipsecA.Static.In != ipsecB.Static.Out || ipsecA.Static.In == ipsecA.Static.Out {
		t.Errorf("SAs do not match:\n%s%s", a, b)
	}
	if !regexp.MustCompile(`^0x[0-9a-f]{40}$`).MatchString(ipsecA.Static.Out.Key) || ipsecA.Static.Out.SPI < 256 {
		t.Errorf("%+v is no SPI and 20 octets", ipsecA.Static.Out)
	}
	if ipsecA.Remote == ipsecB.Remote || ipsecA.Static.StateFile == ipsecB.Static.StateFile {
		t.Errorf("the ends share a remote or a state file:\n%s%s", a, b)
	}
	if again, _, _ := staticConfigs("dir"); again == a {
		t.Error("the same keys twice")
	}
}
