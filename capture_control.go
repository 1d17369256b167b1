package warren

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const (
	// The answer to a capture that has begun says by which number it is ended, and behind the packets a CaptureReport.
	captureHeader  = "Warren-Capture"
	captureTrailer = "Warren-Report"

	// captureEnds is how long the end of a capture may take: who does not read by then does not get it.
	captureEnds = time.Second
)

// captures are those that the control socket has begun, by number.
type captures struct {
	mu   sync.Mutex
	last uint64
	end  map[uint64]context.CancelFunc
}

// begin returns the number by which a capture is ended. The caller ends it too.
func (c *captures) begin(cancel context.CancelFunc) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end == nil {
		c.end = map[uint64]context.CancelFunc{}
	}
	c.last++
	c.end[c.last] = cancel
	return c.last
}

func (c *captures) ended(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.end, number)
}

// controlCapture answers with the packets, for as long as the capture takes and the client reads.
func (e *Engine) controlCapture(w http.ResponseWriter, r *http.Request) {
	cfg, err := captureOf(r.URL.Query())
	if err != nil {
		writeJSON(w, http.StatusBadRequest, controlError{err.Error()})
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	number := e.captures.begin(cancel)
	defer e.captures.ended(number)
	a := &captureAnswer{to: w, control: http.NewResponseController(w), number: number}
	report, err := e.capture(ctx, cfg, a, func() {
		_ = a.control.SetWriteDeadline(time.Now().Add(captureEnds)) // without one it takes as long as the client does
	})
	switch {
	case !a.begun && err != nil:
		writeJSON(w, http.StatusBadRequest, controlError{err.Error()})
	case err == nil:
		b, _ := json.Marshal(report) // two numbers and a string
		w.Header().Set(http.TrailerPrefix+captureTrailer, string(b))
	}
}

// controlEndCapture ends a capture. What is left of it goes to who began it.
func (e *Engine) controlEndCapture(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.ParseUint(r.PathValue("number"), 10, 64)
	e.captures.mu.Lock()
	cancel := e.captures.end[number]
	e.captures.mu.Unlock()
	if err != nil || cancel == nil {
		writeJSON(w, http.StatusNotFound, controlError{fmt.Sprintf("there is no capture %q", r.PathValue("number"))})
		return
	}
	cancel()
	writeJSON(w, http.StatusOK, struct{}{})
}

// captureAnswer sends on at once what it is given.
type captureAnswer struct {
	to      http.ResponseWriter
	control *http.ResponseController
	number  uint64
	begun   bool
}

func (a *captureAnswer) Write(b []byte) (int, error) {
	if !a.begun {
		a.begun = true
		a.to.Header().Set("Content-Type", "application/x-pcapng")
		a.to.Header().Set(captureHeader, strconv.FormatUint(a.number, 10))
		a.to.WriteHeader(http.StatusOK)
	}
	n, err := a.to.Write(b)
	if err == nil {
		err = a.control.Flush()
	}
	return n, err
}

// query writes a capture as the parameters of a request, captureOf reads them.
func (c *CaptureConfig) query() url.Values {
	q := url.Values{"tunnel": {c.Tunnel}}
	if c.Side != "" {
		q.Set("side", c.Side)
	}
	if c.Count != 0 {
		q.Set("count", strconv.FormatUint(c.Count, 10))
	}
	if c.Duration != 0 {
		q.Set("duration", c.Duration.String())
	}
	return q
}

func captureOf(q url.Values) (c CaptureConfig, err error) {
	c = CaptureConfig{Tunnel: q.Get("tunnel"), Side: q.Get("side")}
	if s := q.Get("count"); s != "" {
		if c.Count, err = strconv.ParseUint(s, 10, 64); err != nil {
			return c, fmt.Errorf("count: %q is no number of packets", s)
		}
	}
	if s := q.Get("duration"); s != "" {
		if c.Duration, err = time.ParseDuration(s); err != nil || c.Duration < 0 {
			return c, fmt.Errorf("duration: %q is no time; want one as 20s or 5m", s)
		}
	}
	return c, nil
}

// ErrCaptureCut says that a capture has ended in the middle, since the engine has gone.
var ErrCaptureCut = errors.New("the engine has gone, and the capture ends in the middle")

// Capture has the engine capture, and writes what it sends to what open returns, until the capture ends, ctx does, or there is
// nothing to write to any more, which is an error. open is called once the engine has agreed. The report is good with an error
// of writing too.
func (c *Client) Capture(ctx context.Context, cfg CaptureConfig, open func() (io.Writer, error)) (report CaptureReport, err error) {
	// The engine ends it, so that what it has is complete; the request ends before only if that takes too long.
	held, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	req, err := http.NewRequestWithContext(held, http.MethodPost, "http://warren/v1/captures?"+cfg.query().Encode(), nil)
	if err != nil {
		return report, fmt.Errorf("ask engine: %w", err)
	}
	begun := context.AfterFunc(ctx, cancel)
	resp, err := c.send(&http.Client{Transport: c.http.Transport}, req)
	if !begun() {
		return CaptureReport{Why: captureStopped}, nil
	}
	if err != nil {
		return report, err
	}
	defer resp.Body.Close()
	w, err := open()
	if err != nil {
		return report, err
	}
	end := sync.OnceFunc(func() {
		time.AfterFunc(2*captureEnds, cancel)
		_ = c.ask(held, http.MethodDelete, "/v1/captures/"+resp.Header.Get(captureHeader), new(struct{})) // or it has ended by itself
	})
	defer context.AfterFunc(ctx, end)()
	out := &keepsError{w: w}
	_, err = io.Copy(out, resp.Body)
	if out.err != nil {
		end()
		_, err = io.Copy(io.Discard, resp.Body)
	}
	if err == nil {
		err = json.Unmarshal([]byte(resp.Trailer.Get(captureTrailer)), &report)
	}
	switch {
	case out.err != nil:
		return report, out.err
	case err != nil:
		return report, ErrCaptureCut
	}
	return report, nil
}

// keepsError tells what went wrong with writing from what went wrong with reading.
type keepsError struct {
	w   io.Writer
	err error
}

func (k *keepsError) Write(b []byte) (n int, err error) {
	n, k.err = k.w.Write(b)
	return n, k.err
}
