package server

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"selvage/internal/control"
	"selvage/internal/relay"
)

// controlMetrics registers the counters of the control protocol.
func (s *Server) controlMetrics() *control.Metrics {
	m := control.NewMetrics()
	s.metrics.MustRegister(m.Collectors()...)
	return m
}

// observeStore registers the times of the database and returns what feeds them.
func (s *Server) observeStore() func(op string, d time.Duration) {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "selvage_store_seconds", Help: "Time of database transactions, by operation; \"wait\" is the time until a write began.",
		Buckets: []float64{.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .5, 1, 5},
	}, []string{"operation"})
	s.metrics.MustRegister(h)
	return func(op string, d time.Duration) { h.WithLabelValues(op).Observe(d.Seconds()) }
}

// registerMetrics registers what is read when somebody asks.
func (s *Server) registerMetrics() {
	gauge := func(name, help string, f func() float64) {
		s.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
	}
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	gauge("selvage_nodes", "Nodes of all tailnets.", func() float64 {
		count := 0
		for _, n := range s.hub.Nets() {
			for range n.View().Nodes() {
				count++
			}
		}
		return float64(count)
	})
	gauge("selvage_journal_lag_nodes", "Nodes whose reports are not saved yet.", func() float64 { return float64(s.hub.SoftLag()) })
	gauge("selvage_start_time_seconds", "When the server was started, in Unix time.", func() float64 { return float64(s.started.Unix()) })
	if s.relay != nil {
		s.metrics.MustRegister(relay.Collector(s.relay, s.stun))
	}
}
