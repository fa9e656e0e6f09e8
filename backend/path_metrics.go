package backend

import (
	"bytes"
	"context"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/prometheus/common/expfmt"
)

const (
	metricsSynopsis    = "What the mount has counted, for Prometheus."
	metricsDescription = `
Gives counters, gauges and a histogram in Prometheus' text format, about this mount
and the plugin's process. No label holds the name of a secret. ABEJA is not called.

It needs a token, like every path: give Prometheus one whose policy allows "read"
here alone. By hand use 'vault read -format=raw abeja/metrics'.`
)

func (b *backend) pathMetrics() *framework.Path {
	return &framework.Path{
		Pattern:         "metrics",
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "read", OperationSuffix: "metrics"},
		HelpSynopsis:    metricsSynopsis,
		HelpDescription: strings.TrimSpace(metricsDescription),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.readMetrics, Summary: metricsSynopsis,
				Responses: map[int][]framework.Response{http.StatusOK: {{
					Description: "Prometheus' text format, as text/plain.",
				}}},
			},
		},
	}
}

func (b *backend) readMetrics(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	families, err := b.metrics.registry.Gather()
	if err != nil {
		return nil, err
	}
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	var body bytes.Buffer
	encoder := expfmt.NewEncoder(&body, format)
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return nil, err
		}
	}
	return &logical.Response{Data: map[string]any{
		logical.HTTPStatusCode:  http.StatusOK,
		logical.HTTPContentType: string(format),
		logical.HTTPRawBody:     body.Bytes(),
	}}, nil
}
