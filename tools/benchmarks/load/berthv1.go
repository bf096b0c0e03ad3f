package main

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// The few messages of berth.v1 that the workloads need, written and read by hand: generated code would bring two
// protobuf runtimes together, as etcd's client of this age uses another one. Numbers are those of
// protos/berth/v1/locks.proto; a field left at zero is not sent, and unknown fields are skipped.

// handle proves a place; Release and Resign give it back.
type handle struct {
	name, key         []byte
	token, lease, ttl int64
}

// takeRequest is an AcquireRequest or a CampaignRequest.
type takeRequest struct {
	name       []byte
	ttl, lease int64
	value      []byte // the proposal, of a campaign alone
	campaign   bool
}

// takeResponse is an AcquireResponse or a CampaignResponse, which agree in the fields read here.
type takeResponse struct {
	taken  bool
	handle handle
	waited int64 // milliseconds
	ahead  int64
}

// giveRequest is a ReleaseRequest or a ResignRequest.
type giveRequest struct {
	handle handle
	resign bool
}

// giveResponse is a ReleaseResponse or a ResignResponse.
type giveResponse struct{ ended bool }

func appendBytes(to []byte, field protowire.Number, value []byte) []byte {
	if len(value) == 0 {
		return to
	}
	return protowire.AppendBytes(protowire.AppendTag(to, field, protowire.BytesType), value)
}

func appendInt(to []byte, field protowire.Number, value int64) []byte {
	if value == 0 {
		return to
	}
	return protowire.AppendVarint(protowire.AppendTag(to, field, protowire.VarintType), uint64(value))
}

func (m *takeRequest) encode() (to []byte) {
	to = appendBytes(to, 1, m.name)
	if m.campaign {
		to = appendBytes(to, 2, m.value)
		to = appendInt(to, 3, m.ttl)
		return appendInt(to, 4, m.lease)
	}
	to = appendInt(to, 2, m.ttl)
	return appendInt(to, 3, m.lease)
}

func (m *giveRequest) encode() (to []byte) {
	if m.resign {
		return appendBytes(to, 1, m.handle.encode())
	}
	return appendInt(appendBytes(to, 1, m.handle.key), 2, m.handle.token)
}

func (m *handle) encode() (to []byte) {
	to = appendBytes(appendBytes(to, 1, m.name), 2, m.key)
	return appendInt(appendInt(appendInt(to, 3, m.token), 4, m.lease), 5, m.ttl)
}

// fields calls each with every field of a message: number for a varint, bytes for a length-delimited one.
func fields(message []byte, each func(field protowire.Number, number int64, bytes []byte) error) error {
	for len(message) > 0 {
		field, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return protowire.ParseError(size)
		}
		message = message[size:]
		var number uint64
		var bytes []byte
		switch kind {
		case protowire.VarintType:
			number, size = protowire.ConsumeVarint(message)
		case protowire.BytesType:
			bytes, size = protowire.ConsumeBytes(message)
		default:
			size = protowire.ConsumeFieldValue(field, kind, message)
		}
		if size < 0 {
			return protowire.ParseError(size)
		}
		message = message[size:]
		if err := each(field, int64(number), bytes); err != nil {
			return err
		}
	}
	return nil
}

func (m *takeResponse) decode(message []byte) error {
	return fields(message, func(field protowire.Number, number int64, bytes []byte) error {
		switch field {
		case 2:
			m.taken = number != 0
		case 3:
			return m.handle.decode(bytes)
		case 4:
			m.waited = number
		case 5:
			m.ahead = number
		}
		return nil
	})
}

func (m *giveResponse) decode(message []byte) error {
	return fields(message, func(field protowire.Number, number int64, _ []byte) error {
		if field == 2 {
			m.ended = number != 0
		}
		return nil
	})
}

func (m *handle) decode(message []byte) error {
	return fields(message, func(field protowire.Number, number int64, bytes []byte) error {
		switch field {
		case 1:
			m.name = append([]byte(nil), bytes...)
		case 2:
			m.key = append([]byte(nil), bytes...)
		case 3:
			m.token = number
		case 4:
			m.lease = number
		case 5:
			m.ttl = number
		}
		return nil
	})
}

// wireCodec lets gRPC carry the messages above under the usual content type.
type wireCodec struct{}

func (wireCodec) Name() string { return "proto" }

func (wireCodec) Marshal(message interface{}) ([]byte, error) {
	m, known := message.(interface{ encode() []byte })
	if !known {
		return nil, fmt.Errorf("%T is no request of berth.v1", message)
	}
	return m.encode(), nil
}

func (wireCodec) Unmarshal(data []byte, message interface{}) error {
	m, known := message.(interface{ decode([]byte) error })
	if !known {
		return fmt.Errorf("%T is no response of berth.v1", message)
	}
	return m.decode(data)
}

// take calls Acquire or Campaign and waits, if need be for ever.
func take(ctx context.Context, connection *grpc.ClientConn, request *takeRequest) (handle, error) {
	method := "/berth.v1.Locks/Acquire"
	if request.campaign {
		method = "/berth.v1.Elections/Campaign"
	}
	var answer takeResponse
	if err := connection.Invoke(ctx, method, request, &answer, grpc.ForceCodec(wireCodec{})); err != nil {
		return handle{}, err
	}
	if !answer.taken || len(answer.handle.key) == 0 || answer.handle.token == 0 {
		return handle{}, fmt.Errorf("%s without a bound on the wait answered without a handle", method)
	}
	return answer.handle, nil
}

// give calls Release or Resign; a place that had ended before is an error here, as no workload loses one.
func give(ctx context.Context, connection *grpc.ClientConn, request *giveRequest) error {
	method := "/berth.v1.Locks/Release"
	if request.resign {
		method = "/berth.v1.Elections/Resign"
	}
	var answer giveResponse
	if err := connection.Invoke(ctx, method, request, &answer, grpc.ForceCodec(wireCodec{})); err != nil {
		return err
	}
	if !answer.ended {
		return fmt.Errorf("%s: the place %s had ended before", method, request.handle.key)
	}
	return nil
}
