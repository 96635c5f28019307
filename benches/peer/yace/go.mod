module yace

go 1.24.0

require github.com/prometheus-community/yet-another-cloudwatch-exporter v0.63.0

require (
	github.com/aws/aws-sdk-go-v2 v1.42.1 // indirect
	github.com/aws/aws-sdk-go-v2/internal/configsources v1.4.30 // indirect
	github.com/aws/aws-sdk-go-v2/internal/endpoints/v2 v2.7.30 // indirect
	github.com/aws/aws-sdk-go-v2/service/cloudwatch v1.62.0 // indirect
	github.com/aws/smithy-go v1.27.3 // indirect
)
