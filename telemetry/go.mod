module github.com/blindai-go/blindai/telemetry

go 1.26
