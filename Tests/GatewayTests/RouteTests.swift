import EtcdAPI
import Gateway
import Testing

@Suite struct RouteTests {
    @Test func `every method described has a route, but for those of gRPC's own services`() {
        let routed = Set(Route.all.map(\.method))
        for method in Schema.current.methods.keys {
            let service = String(method.dropFirst().prefix { $0 != "/" })
            #expect(routed.contains(method) != Route.servicesWithout.contains(service), "\(method)")
        }
    }

    @Test func `every route leads to a method, and no path to two`() {
        for route in Route.all { #expect(Schema.current.methods[route.method] != nil, "\(route.method)") }
        #expect(Set(Route.all.map(\.path)).count == Route.all.count)
    }

    @Test func `etcd's own table has 51 routes to 48 methods`() {
        let etcd = Route.all.filter { !$0.path.hasPrefix("berth/") }
        #expect(etcd.count == 51)
        #expect(Set(etcd.map(\.method)).count == 48)
    }

    @Test func `what streams is read from the descriptions`() throws {
        let watch = try #require(Schema.current.methods["/etcdserverpb.Watch/Watch"])
        #expect(watch.streamsRequests && watch.streamsResponses)
        let snapshot = try #require(Schema.current.methods["/etcdserverpb.Maintenance/Snapshot"])
        #expect(!snapshot.streamsRequests && snapshot.streamsResponses)
        let put = try #require(Schema.current.methods["/etcdserverpb.KV/Put"])
        #expect(!put.streamsRequests && !put.streamsResponses)
    }
}
