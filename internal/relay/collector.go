package relay

import (
	"expvar"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// derpVar is one variable of the DERP library and what it is called as a metric.
type derpVar struct {
	key  string
	kind prometheus.ValueType
	desc *prometheus.Desc
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("selvage_relay_"+name, help, labels, nil)
}

// collector reads the numbers where they are kept at the moment they are asked for.
type collector struct {
	s    *Server
	stun *STUN

	vars            []derpVar
	denied, clients *prometheus.Desc
	dropped         *prometheus.Desc
	stunRequests    *prometheus.Desc
}

// Collector returns the metrics of the relay, and of STUN unless it is nil. Packets
// dropped are those of all relays in the process, since the library counts so.
func Collector(s *Server, stun *STUN) prometheus.Collector {
	counter := func(key, name, help string) derpVar {
		return derpVar{key, prometheus.CounterValue, describe(name, help)}
	}
	gauge := func(key, name, help string) derpVar {
		return derpVar{key, prometheus.GaugeValue, describe(name, help)}
	}
	return &collector{
		s: s, stun: stun,
		vars: []derpVar{
			counter("accepts", "connections_total", "Connections made to the relay, admitted or not."),
			counter("bytes_received", "received_bytes_total", "Bytes of packets received from clients."),
			counter("bytes_sent", "sent_bytes_total", "Bytes of packets sent to clients."),
			counter("packets_received", "received_packets_total", "Packets received from clients."),
			counter("packets_sent", "sent_packets_total", "Packets sent to clients."),
			counter("sclient_write_timeouts", "write_timeouts_total", "Clients that took packets too slowly and were disconnected."),
			gauge("gauge_current_connections", "connections", "Connections of clients."),
			gauge("gauge_current_home_connections", "home_connections", "Connections of clients whose home relay this is."),
			gauge("gauge_current_dup_client_keys", "duplicate_clients", "Clients that are connected more than once."),
		},
		denied:       describe("denied_total", "Clients that were turned away."),
		clients:      describe("admitted_connections", "Connections whose client was admitted."),
		dropped:      describe("dropped_packets_total", "Packets that were not delivered.", "kind", "reason"),
		stunRequests: describe("stun_packets_total", "Packets that came to the STUN port.", "result"),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, v := range c.vars {
		ch <- v.desc
	}
	ch <- c.denied
	ch <- c.clients
	ch <- c.dropped
	if c.stun != nil {
		ch <- c.stunRequests
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	values := make(map[string]float64)
	if all, ok := c.s.derp.ExpVar(false).(interface{ Do(func(expvar.KeyValue)) }); ok {
		all.Do(func(kv expvar.KeyValue) {
			if n, ok := number(kv.Value); ok {
				values[kv.Key] = n
			}
		})
	}
	for _, v := range c.vars {
		if n, ok := values[v.key]; ok {
			ch <- prometheus.MustNewConstMetric(v.desc, v.kind, n)
		}
	}
	ch <- prometheus.MustNewConstMetric(c.denied, prometheus.CounterValue, float64(c.s.denied.Load()))
	ch <- prometheus.MustNewConstMetric(c.clients, prometheus.GaugeValue, float64(c.s.Clients()))
	for _, d := range drops() {
		ch <- prometheus.MustNewConstMetric(c.dropped, prometheus.CounterValue, d.n, d.kind, d.reason)
	}
	if c.stun != nil {
		for result, n := range map[string]int64{
			"answered": c.stun.answered.Load(), "ignored": c.stun.ignored.Load(), "failed": c.stun.failed.Load(),
		} {
			ch <- prometheus.MustNewConstMetric(c.stunRequests, prometheus.CounterValue, float64(n), result)
		}
	}
}

// number reads the values that are plain numbers.
func number(v expvar.Var) (float64, bool) {
	if v == nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(v.String(), 64)
	return n, err == nil
}

// drop is one of the library's counters of packets not delivered.
type drop struct {
	kind, reason string
	n            float64
}

// dropLine is how the library writes one of them.
var dropLine = regexp.MustCompile(`(?m)^\w+\{reason="([^"]*)",kind="([^"]*)"\} (\d+)$`)

// drops reads the library's own text: the type of these counters can't be named
// outside it.
func drops() []drop {
	v, ok := expvar.Get("derp_packets_dropped").(interface {
		WritePrometheus(w io.Writer, name string)
	})
	if !ok {
		return nil
	}
	var text strings.Builder
	v.WritePrometheus(&text, "x")
	var list []drop
	for _, m := range dropLine.FindAllStringSubmatch(text.String(), -1) {
		n, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			continue
		}
		list = append(list, drop{kind: m[2], reason: m[1], n: n})
	}
	return list
}
