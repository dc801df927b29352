package control

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the counters of the control protocol.
type Metrics struct {
	online        prometheus.Gauge
	connections   prometheus.Gauge
	handshakes    *prometheus.CounterVec
	registrations *prometheus.CounterVec
	messages      *prometheus.CounterVec
	bytes         *prometheus.CounterVec
	reports       prometheus.Counter
	propagation   prometheus.Histogram
}

// NewMetrics returns counters that belong to no registry yet.
func NewMetrics() *Metrics {
	return &Metrics{
		online:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "selvage_nodes_online", Help: "Nodes with a map session."}),
		connections:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "selvage_control_connections", Help: "Open Noise connections."}),
		handshakes:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "selvage_control_handshakes_total", Help: "Noise handshakes by result."}, []string{"result"}),
		registrations: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "selvage_registrations_total", Help: "Registrations by result."}, []string{"result"}),
		messages:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "selvage_map_messages_total", Help: "Map messages sent, by kind."}, []string{"kind"}),
		bytes:         prometheus.NewCounterVec(prometheus.CounterOpts{Name: "selvage_map_bytes_total", Help: "Bytes of map messages sent, after compression, by kind."}, []string{"kind"}),
		reports:       prometheus.NewCounter(prometheus.CounterOpts{Name: "selvage_reports_total", Help: "Reports of nodes about themselves that changed something."}),
		propagation: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "selvage_propagation_seconds", Help: "Time from a change to the message that tells a node of it being written.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30},
		}),
	}
}

// Collectors returns what to register.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.online, m.connections, m.handshakes, m.registrations, m.messages, m.bytes, m.reports, m.propagation}
}

func (m *Metrics) sent(kind string, bytes int) {
	m.messages.WithLabelValues(kind).Inc()
	m.bytes.WithLabelValues(kind).Add(float64(bytes))
}
