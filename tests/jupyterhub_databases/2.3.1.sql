BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('833da8570507');
CREATE TABLE api_token_role_map (
	api_token_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	CONSTRAINT pk_api_token_role_map PRIMARY KEY (api_token_id, role_id), 
	CONSTRAINT fk_api_token_role_map_api_token_id_api_tokens FOREIGN KEY(api_token_id) REFERENCES api_tokens (id) ON DELETE CASCADE, 
	CONSTRAINT fk_api_token_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "api_token_role_map" VALUES(1,4);
INSERT INTO "api_token_role_map" VALUES(2,4);
INSERT INTO "api_token_role_map" VALUES(3,4);
INSERT INTO "api_token_role_map" VALUES(4,4);
INSERT INTO "api_token_role_map" VALUES(5,4);
INSERT INTO "api_token_role_map" VALUES(6,4);
INSERT INTO "api_token_role_map" VALUES(7,4);
INSERT INTO "api_token_role_map" VALUES(8,4);
INSERT INTO "api_token_role_map" VALUES(9,4);
INSERT INTO "api_token_role_map" VALUES(10,4);
INSERT INTO "api_token_role_map" VALUES(11,4);
INSERT INTO "api_token_role_map" VALUES(12,4);
INSERT INTO "api_token_role_map" VALUES(14,4);
INSERT INTO "api_token_role_map" VALUES(15,4);
INSERT INTO "api_token_role_map" VALUES(17,1);
INSERT INTO "api_token_role_map" VALUES(18,4);
INSERT INTO "api_token_role_map" VALUES(19,1);
INSERT INTO "api_token_role_map" VALUES(20,2);
INSERT INTO "api_token_role_map" VALUES(21,6);
INSERT INTO "api_token_role_map" VALUES(22,7);
INSERT INTO "api_token_role_map" VALUES(23,3);
INSERT INTO "api_token_role_map" VALUES(24,3);
CREATE TABLE api_tokens (
	user_id INTEGER, 
	service_id INTEGER, 
	id INTEGER NOT NULL, 
	hashed VARCHAR(255), 
	prefix VARCHAR(16), 
	client_id VARCHAR(255), 
	session_id VARCHAR(255), 
	created DATETIME, 
	expires_at DATETIME, 
	last_activity DATETIME, 
	note VARCHAR(1023), 
	CONSTRAINT pk_api_tokens PRIMARY KEY (id), 
	CONSTRAINT fk_api_tokens_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_api_tokens_service_id_services FOREIGN KEY(service_id) REFERENCES services (id) ON DELETE CASCADE, 
	CONSTRAINT uq_api_tokens_hashed UNIQUE (hashed), 
	CONSTRAINT fk_api_tokens_client_id_oauth_clients FOREIGN KEY(client_id) REFERENCES oauth_clients (identifier) ON DELETE CASCADE
);
INSERT INTO "api_tokens" VALUES(NULL,1,1,'sha512:16384:6af0a7921eda0209:35b0e0da13e712fab4d7d65a7f04bc27062a6ab281cb80c1026e89dbe1dd2c0f91abaa0576d9d23d28051cffafbc970eaf18f7982cb663260ee664a6e72c3727','toke','jupyterhub',NULL,'2026-12-01 03:54:09.995707',NULL,'2026-12-01 03:54:22.044226','from config');
INSERT INTO "api_tokens" VALUES(NULL,2,2,'sha512:16384:ab18e6178fe680d8:b4a0803e1b02be6821af666a7821e6c4e74785d8d809d28cc3de5e2ed47de8bde4647e227f3b1d41f0983c2478fc47c4727b092f1aa6aed5ac43593f8dfae76c','toke','jupyterhub',NULL,'2026-12-01 03:54:10.047034',NULL,'2026-12-01 03:54:22.283871','from config');
INSERT INTO "api_tokens" VALUES(NULL,3,3,'sha512:16384:06438da75e4a6746:7634c20134ee6de23ecaea8ca4c8d08d0d1dcb60d550828714a84550e6ade056916b95ef46f58158f93d26ceac0c3b6c8c31ff443b3eddc83801ace3931a1b54','toke','jupyterhub',NULL,'2026-12-01 03:54:10.078466',NULL,'2026-12-01 03:54:22.134424','from config');
INSERT INTO "api_tokens" VALUES(4,NULL,4,'sha512:16384:3ebed8d30619c6ad:32d24c4a9ae9fdc9c16489c93e98bc2957d963c3bde22d1e0dcd82b623021dff396d460af67855f2fd8f373f7e6468b58abcf3d2607952f6967d208726057914','toke','jupyterhub',NULL,'2026-12-01 03:54:10.129673',NULL,'2026-12-01 03:54:21.740472','from config');
INSERT INTO "api_tokens" VALUES(3,NULL,5,'sha512:16384:09ce4710df0bd33d:f6a08d2b63c52e7f571ff7460ff9013b1b50fe6e9980fbc73853f929e1e31f0d52b03accb628d06bacf947ece06ee3946d67e7e9a90c7a79468781221f053a1f','toke','jupyterhub',NULL,'2026-12-01 03:54:10.179023',NULL,'2026-12-01 03:54:21.830367','from config');
INSERT INTO "api_tokens" VALUES(2,NULL,6,'sha512:16384:e2fb5abebe11bc4c:292cafd0d7bbc84429b0194194923b2208f0360213d909f4b153e2497daee74ae13733bc5e3a69ecf7c7c76f7adae1e39a44fbfaf0e5845398bc3ebf690a4e9a','toke','jupyterhub',NULL,'2026-12-01 03:54:10.230322',NULL,'2026-12-01 03:54:21.930007','from config');
INSERT INTO "api_tokens" VALUES(NULL,2,7,'sha512:16384:6ac3ef7b57917625:aa09baacec64553ae01ab9742159dadc9ec7ce5ffef52f130dcc1fb9947f49549f39629c6af298c9aa5c8fc1cad083be74455726dd847f6391cbd097baf8cdae','toke','jupyterhub',NULL,'2026-12-01 03:54:14.011894',NULL,'2026-12-01 03:54:22.424366','from config');
INSERT INTO "api_tokens" VALUES(1,NULL,8,'sha512:1:a45e83bdbe2aa02f:da4374e66d1d4f09e643a0306dcbab3a111aeb2629b33752ca8ddbcb265b463116ccd8e9b523bfdf49ac44cbec88ff3e5953eccc893044034fc29c582e8bc9e5','4c2b','jupyterhub',NULL,'2026-12-01 03:54:16.562496',NULL,'2026-12-01 03:54:17.228065','command-line generated');
INSERT INTO "api_tokens" VALUES(3,NULL,9,'sha512:1:98faeb391bf992a3:d6bafc3df3f7febe1a7da984d2c7797d5f6fcdfd76accc77b3a82fd16d103f0bacf394f430ce5ba0fa020c89d6220c2531ddb6d977fd882eced75975d3460523','2374','jupyterhub',NULL,'2026-12-01 03:54:17.810695',NULL,'2026-12-01 03:54:17.827473','Requested via api by user ada');
INSERT INTO "api_tokens" VALUES(3,NULL,10,'sha512:1:316c10535b484f20:a657bb6e65d17301b02f4388fcb996b43e58673478c5a7dc00c49fb62e351c4d2d67e03f962758e74a94d31f7fb47ea4fd8ac938d03063dd2f1520f174eed664','21df','jupyterhub',NULL,'2026-12-01 03:54:17.822423',NULL,'2026-12-01 03:54:20.275905','für den Scanner');
INSERT INTO "api_tokens" VALUES(3,NULL,11,'sha512:1:7299bee27d7a5bde:dd137277babab870df9cbae0096e548f976357d0f10faf678917898e2d7f808ff0c77184e88e8dfc0bde9c4c87b694b3e4865fed18af9b3ba6240eccc93287b7','821a','jupyterhub',NULL,'2026-12-01 03:54:17.852454',NULL,'2026-12-01 03:54:20.361926','by herself');
INSERT INTO "api_tokens" VALUES(7,NULL,12,'sha512:1:9aecfc6cbaa42323:98fe46cb63eec9fbcd37aadcaadd31237837a47c05c18566e0ded378ab8020b2c8cc17d5cebd7bd8b7384bf489b9fdf948313c952b0b3e9a5f882751043a20d0','1f57','jupyterhub',NULL,'2026-12-01 03:54:17.879379','2056-11-23 03:54:17.878827','2026-12-01 03:54:20.441207','a long time');
INSERT INTO "api_tokens" VALUES(6,NULL,14,'sha512:1:78b9b03cdfb2db75:feb86fcd62888e4365c31f2480e303075d7e1df05898c744f901454c996e589806bd32024768501006d048f247996ff767e5abda89b9825582cb522fef27e6b6','d025','jupyterhub',NULL,'2026-12-01 03:54:17.928303',NULL,'2026-12-01 03:54:20.563857','Requested via api by user ada');
INSERT INTO "api_tokens" VALUES(8,NULL,15,'sha512:1:772798f5e7812696:053ba0cfe386cd1d430fec785737b1af0e8425c8abc8552cbf4af0de40bcc61bdd01947e1518a971cab0af0272afe0d7557550ed6966b9e2d1aef9c3509012eb','84be','jupyterhub',NULL,'2026-12-01 03:54:17.952448',NULL,'2026-12-01 03:54:20.632900','Requested via api by user ada');
INSERT INTO "api_tokens" VALUES(8,NULL,16,'sha512:1:be0ed79cb2105724:3e5fb7a4e4dda6f6cab5d77be3f37d6344c2914bd76e8b8e766d1f7b39eb879e6baceb99ec07aa7bd11d72a03da19df7d3518f2d1c11e7bc8684e2c4cf754c23','a29c','jupyterhub',NULL,'2026-12-01 03:54:17.965955',NULL,'2026-12-01 03:54:20.713238','without');
INSERT INTO "api_tokens" VALUES(3,NULL,17,'sha512:1:bc78b3e9b969f672:2d4d1d919d343bee17d16d331341c47c7bb2a86f76809c86df7bf77f9097b5a6782385f118df1242cb60fe776777a68c01754c7712dd1e686672620ac6856d02','db8c','jupyterhub',NULL,'2026-12-01 03:54:17.978095',NULL,'2026-12-01 03:54:20.803389','Requested via api by user ada');
INSERT INTO "api_tokens" VALUES(3,NULL,18,'sha512:1:6948f9be9be89ecc:f4d219a684efd9e7ea34224837b8138dc18f7d952485cfc9feb08d3c2eece12e8d6c76c51e40e451386fee9a4693c00d8947266b4e88315086c2bd2e59af773c','1860','jupyterhub',NULL,'2026-12-01 03:54:17.999737',NULL,'2026-12-01 03:54:20.885484','Requested via api by user ada');
INSERT INTO "api_tokens" VALUES(1,NULL,19,'sha512:1:96c4bb50982986ab:3b4c298ebab88f4875a84b1386c30e676495cb3630d821097d953d7e12db4c3077ddeb25deb2c6ac37324b11d42d7231814e3480b348f708dbf945692897c7da','e7bb','jupyterhub',NULL,'2026-12-01 03:54:18.017600',NULL,'2026-12-01 03:54:20.956937','Requested via api');
INSERT INTO "api_tokens" VALUES(1,NULL,20,'sha512:1:89c1f9e5ac6437b7:ed16b22954f0d47a39cc60913ba0a2543d0b2afcee954f67a99b7c557e421f3c1cff1139c07217540fdbebee27e9157b1b212dfeabd3a9ffba31bf98a538110b','c36d','jupyterhub',NULL,'2026-12-01 03:54:18.036588',NULL,'2026-12-01 03:54:21.035347','Requested via api');
INSERT INTO "api_tokens" VALUES(5,NULL,21,'sha512:1:6e07fd74791a2656:f73b2adb21d4f9181e5d160c598bcee559091984fcc3d8fa6f13cbef0046565b5d051de3215dab9c0751e4ee0ec5a3a794d4b74f35531854dd9f669b1cbdfab2','74f4','jupyterhub',NULL,'2026-12-01 03:54:18.067676',NULL,'2026-12-01 03:54:21.109064','Requested via api by user ada');
INSERT INTO "api_tokens" VALUES(2,NULL,22,'sha512:1:270ac1588e6d7f17:d9dd76a62547d59597dab40ff263f7bfba7f7d3ad2d80f501c38b748cd5b49c82677f9eebbc89c0f0f6acf021201211d2c70874b433f1b5f2b6f3b3f418a1eff','4492','jupyterhub',NULL,'2026-12-01 03:54:18.087797',NULL,'2026-12-01 03:54:21.194019','Requested via api by user ada');
INSERT INTO "api_tokens" VALUES(3,NULL,23,'sha512:1:aacd9a2638b09a3b:c1f4f6876cea9a32d7576d194ef8296e546557807f025cc19684ba06a92dc060485aa3c0220f747cc3329b39f696b214413efc1d71b966d1a9a7edb25e98174b','3882','jupyterhub',NULL,'2026-12-01 03:54:18.124207',NULL,'2026-12-01 03:54:21.280955','Server at /user/carol/');
INSERT INTO "api_tokens" VALUES(7,NULL,24,'sha512:1:7948dbee944c3378:ac30882cdaedae4e8256a91218a2b52d9d2ce3b5e35a75b0519a642ad9607b5590b79ccc8b368e916c7f0510cadbdc0201be671e3f1adf958406fee602ab9839','e122','jupyterhub',NULL,'2026-12-01 03:54:18.227347',NULL,'2026-12-01 03:54:21.345916','Server at /user/dave/MyLab.2/');
INSERT INTO "api_tokens" VALUES(3,NULL,25,'sha512:1:c9ec32d447cd0aab:3076faa6126ff538001cdeedc4b3125a1dbad6c31669df428135321340396f81e40b05d98ab2285a27bf6644d50d0555164ccee9ebd14fcfd514c6f5eed7b39d','B5t9','jupyterhub-user-carol','da837db58f844b8098462387f2e0329a','2026-12-01 03:54:18.515706','2026-12-15 03:54:18.514451','2026-12-01 03:54:21.428957','');
INSERT INTO "api_tokens" VALUES(1,NULL,26,'sha512:1:4f28a67cbebc051d:39aab1c6f5039c06200864653b0a033342ac4661a81607e92437e1fe4cb36645da40c3a95b045459668c4b5ec8b168c4e32268afc3ee90449b31a29c78679ebf','3qEc','jupyterhub-user-carol','cd7480a6967f4ecab1506782f695f7b2','2026-12-01 03:54:18.537851','2026-12-15 03:54:18.537422','2026-12-01 03:54:21.505668','');
INSERT INTO "api_tokens" VALUES(7,NULL,27,'sha512:1:7a03db17ab419949:24edaf7ce186e71509f77b1d1ae44098452aefc9a39cdf3dae641a7c177adb63a009fe292c108e2cf49a240a9f69def68e2b7b3cec9e6a14e5751dbda3060696','2Aju','jupyterhub-user-dave-MyLab.2','e341e5b847bc46a38eb896e5a286f845','2026-12-01 03:54:18.551892','2026-12-15 03:54:18.551522','2026-12-01 03:54:21.581844','');
INSERT INTO "api_tokens" VALUES(3,NULL,28,'sha512:1:42f058c5373f9fe6:efdcb3322c685b78655c06e2932e9fb9ed9557c12ff2c38c510f2fca9d693122f10a98ccb7f13ad86f700f89215076b4edfc9d259dacccd17b5078f5f06f40d7','rxB0','service-announce','da837db58f844b8098462387f2e0329a','2026-12-01 03:54:18.566019','2026-12-15 03:54:18.565608','2026-12-01 03:54:21.677768','');
CREATE TABLE group_role_map (
	group_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	CONSTRAINT pk_group_role_map PRIMARY KEY (group_id, role_id), 
	CONSTRAINT fk_group_role_map_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE, 
	CONSTRAINT fk_group_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "group_role_map" VALUES(1,7);
CREATE TABLE groups (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	CONSTRAINT pk_groups PRIMARY KEY (id), 
	CONSTRAINT uq_groups_name UNIQUE (name)
);
INSERT INTO "groups" VALUES(1,'students');
INSERT INTO "groups" VALUES(2,'Übung 7');
CREATE TABLE oauth_client_role_map (
	oauth_client_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	CONSTRAINT pk_oauth_client_role_map PRIMARY KEY (oauth_client_id, role_id), 
	CONSTRAINT fk_oauth_client_role_map_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (id) ON DELETE CASCADE, 
	CONSTRAINT fk_oauth_client_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
CREATE TABLE oauth_clients (
	id INTEGER NOT NULL, 
	identifier VARCHAR(255), 
	description VARCHAR(1023), 
	secret VARCHAR(255), 
	redirect_uri VARCHAR(1023), 
	CONSTRAINT pk_oauth_clients PRIMARY KEY (id), 
	CONSTRAINT uq_oauth_clients_identifier UNIQUE (identifier)
);
INSERT INTO "oauth_clients" VALUES(1,'jupyterhub','JupyterHub','','');
INSERT INTO "oauth_clients" VALUES(2,'service-announce','JupyterHub service announce','sha512:16384:1f066c3796ebbcbc:d83da6194be13e76e027dea8bf7a2877865c15b843cea14488a812e4b7d41f7c9c5011b4d5ba04cc2f940ccdae1c110fddbc288445a6fdee702e196e15b49406','/services/announce/oauth_callback');
INSERT INTO "oauth_clients" VALUES(3,'jupyterhub-user-carol','Server at /user/carol/','sha512:16384:1696f0e5efaf7dc8:362c6bc690d41f142364c50e6c1f564d4d2b405f5d3e8baed50d2fdf6d7c9a277e4745488f067cea39435f5cbf5027286c35a8909df2f1b868737abbc377bf9b','/user/carol/oauth_callback');
INSERT INTO "oauth_clients" VALUES(4,'jupyterhub-user-dave-MyLab.2','Server at /user/dave/MyLab.2/','sha512:16384:be1dc982c53c1258:efeae29976105b07dcadd515421085f08316b6a745829cf736a404efd322e39796a0ccbc73b61f72685fa726ad4d43b1dbe5c3d3d37193719da838872411c3d1','/user/dave/MyLab.2/oauth_callback');
CREATE TABLE oauth_code_role_map (
	oauth_code_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	CONSTRAINT pk_oauth_code_role_map PRIMARY KEY (oauth_code_id, role_id), 
	CONSTRAINT fk_oauth_code_role_map_oauth_code_id_oauth_codes FOREIGN KEY(oauth_code_id) REFERENCES oauth_codes (id) ON DELETE CASCADE, 
	CONSTRAINT fk_oauth_code_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
CREATE TABLE oauth_codes (
	id INTEGER NOT NULL, 
	client_id VARCHAR(255), 
	code VARCHAR(36), 
	expires_at INTEGER, 
	redirect_uri VARCHAR(1023), 
	session_id VARCHAR(255), 
	user_id INTEGER, 
	CONSTRAINT pk_oauth_codes PRIMARY KEY (id), 
	CONSTRAINT fk_oauth_codes_client_id_oauth_clients FOREIGN KEY(client_id) REFERENCES oauth_clients (identifier) ON DELETE CASCADE, 
	CONSTRAINT fk_oauth_codes_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE TABLE roles (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	description VARCHAR(1023), 
	scopes TEXT, 
	CONSTRAINT pk_roles PRIMARY KEY (id), 
	CONSTRAINT uq_roles_name UNIQUE (name)
);
INSERT INTO "roles" VALUES(1,'user','Standard user privileges','["self"]');
INSERT INTO "roles" VALUES(2,'admin','Elevated privileges (can do anything)','["admin:users", "admin:servers", "tokens", "admin:groups", "list:services", "read:services", "read:hub", "proxy", "shutdown", "access:services", "access:servers", "read:roles", "read:metrics"]');
INSERT INTO "roles" VALUES(3,'server','Post activity only','["users:activity!user", "access:servers!user"]');
INSERT INTO "roles" VALUES(4,'token','Token with same permissions as its owner','["inherit"]');
INSERT INTO "roles" VALUES(5,'keeping',NULL,'["list:users", "servers"]');
INSERT INTO "roles" VALUES(6,'grading','Sees the students','["list:users!group=students", "read:users!group=students"]');
INSERT INTO "roles" VALUES(7,'looking',NULL,'["read:users", "access:services!service=announce"]');
CREATE TABLE servers (
	id INTEGER NOT NULL, 
	proto VARCHAR(15), 
	ip VARCHAR(255), 
	port INTEGER, 
	base_url VARCHAR(255), 
	cookie_name VARCHAR(255), 
	CONSTRAINT pk_servers PRIMARY KEY (id)
);
INSERT INTO "servers" VALUES(2,'http','127.0.0.1',45699,'/services/announce/','jupyterhub-services');
INSERT INTO "servers" VALUES(3,'http','127.0.0.1',47243,'/user/carol/','cookie');
INSERT INTO "servers" VALUES(4,'http','127.0.0.1',48101,'/user/dave/MyLab.2/','cookie');
CREATE TABLE service_role_map (
	service_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	CONSTRAINT pk_service_role_map PRIMARY KEY (service_id, role_id), 
	CONSTRAINT fk_service_role_map_service_id_services FOREIGN KEY(service_id) REFERENCES services (id) ON DELETE CASCADE, 
	CONSTRAINT fk_service_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "service_role_map" VALUES(3,5);
CREATE TABLE services (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	admin BOOLEAN, 
	_server_id INTEGER, 
	pid INTEGER, 
	oauth_client_id VARCHAR(255), 
	CONSTRAINT pk_services PRIMARY KEY (id), 
	CONSTRAINT uq_services_name UNIQUE (name), 
	CONSTRAINT fk_services__server_id_servers FOREIGN KEY(_server_id) REFERENCES servers (id) ON DELETE SET NULL, 
	CONSTRAINT fk_services_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (identifier) ON DELETE SET NULL
);
INSERT INTO "services" VALUES(1,'announce',0,2,NULL,'service-announce');
INSERT INTO "services" VALUES(2,'rotated',0,NULL,NULL,NULL);
INSERT INTO "services" VALUES(3,'keeper',0,NULL,NULL,NULL);
CREATE TABLE spawners (
	id INTEGER NOT NULL, 
	user_id INTEGER, 
	server_id INTEGER, 
	state TEXT, 
	name VARCHAR(255), 
	started DATETIME, 
	last_activity DATETIME, 
	user_options TEXT, 
	oauth_client_id VARCHAR(255), 
	CONSTRAINT pk_spawners PRIMARY KEY (id), 
	CONSTRAINT fk_spawners_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_spawners_server_id_servers FOREIGN KEY(server_id) REFERENCES servers (id) ON DELETE SET NULL, 
	CONSTRAINT fk_spawners_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (identifier) ON DELETE SET NULL
);
INSERT INTO "spawners" VALUES(1,1,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(2,6,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(3,3,3,'{"pid": 24478}','','2026-12-01 03:54:18.165969','2026-12-01 03:54:18.165969','{"profile": "small"}','jupyterhub-user-carol');
INSERT INTO "spawners" VALUES(4,7,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(5,2,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(6,5,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(7,8,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(8,9,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(9,7,4,'{"pid": 24480}','MyLab.2','2026-12-01 03:54:18.235666','2026-12-01 03:54:18.235666','{"image": "gpu", "n": [1]}','jupyterhub-user-dave-MyLab.2');
INSERT INTO "spawners" VALUES(10,7,NULL,'{}','rest',NULL,'2026-12-01 03:54:18.482193','{"image": "cpu"}',NULL);
INSERT INTO "spawners" VALUES(11,4,NULL,NULL,'',NULL,NULL,NULL,NULL);
CREATE TABLE user_group_map (
	user_id INTEGER NOT NULL, 
	group_id INTEGER NOT NULL, 
	CONSTRAINT pk_user_group_map PRIMARY KEY (user_id, group_id), 
	CONSTRAINT fk_user_group_map_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_user_group_map_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE
);
INSERT INTO "user_group_map" VALUES(2,1);
INSERT INTO "user_group_map" VALUES(3,1);
INSERT INTO "user_group_map" VALUES(7,2);
INSERT INTO "user_group_map" VALUES(9,2);
CREATE TABLE user_role_map (
	user_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	CONSTRAINT pk_user_role_map PRIMARY KEY (user_id, role_id), 
	CONSTRAINT fk_user_role_map_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_user_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "user_role_map" VALUES(1,2);
INSERT INTO "user_role_map" VALUES(1,1);
INSERT INTO "user_role_map" VALUES(2,1);
INSERT INTO "user_role_map" VALUES(3,1);
INSERT INTO "user_role_map" VALUES(5,1);
INSERT INTO "user_role_map" VALUES(5,6);
INSERT INTO "user_role_map" VALUES(6,1);
INSERT INTO "user_role_map" VALUES(7,1);
INSERT INTO "user_role_map" VALUES(8,1);
INSERT INTO "user_role_map" VALUES(9,1);
CREATE TABLE users (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	admin BOOLEAN, 
	created DATETIME, 
	last_activity DATETIME, 
	cookie_id VARCHAR(255) NOT NULL, 
	state TEXT, 
	encrypted_auth_state BLOB, 
	CONSTRAINT pk_users PRIMARY KEY (id), 
	CONSTRAINT uq_users_name UNIQUE (name), 
	CONSTRAINT uq_users_cookie_id UNIQUE (cookie_id)
);
INSERT INTO "users" VALUES(1,'ada',1,'2026-12-01 03:54:09.792206','2026-12-01 03:54:17.228065','402548c4690146f087e30aa33afaa284',NULL,X'6741414141414272446B54707045433265496562616B797A6D654F4267786A374D715841706853304A31715361354F7633537748765162476D36497846484A41777552537674785A6B4F6D426A72413843354651336338483143465566324377536D6239503647704B753572575F5236795473646138413D');
INSERT INTO "users" VALUES(2,'erin',0,'2026-12-01 03:54:09.837193','2026-12-01 03:54:21.194019','c0f32cc1ae924b6595f79e354029ef82',NULL,NULL);
INSERT INTO "users" VALUES(3,'carol',0,'2026-12-01 03:54:09.858419','2026-12-01 03:54:18.165969','c44cc2d5834d4e1680a72be1ad1074ea','{}',X'6741414141414272446B54705270774A52436D6F475334324A6945564F424854377435724B3170714D36796A566C7464776C3464567146464F73354C79355338306C6E38572D5244683750356530596B686637616765386D495F4D58334F68742D42485A7757723677346477505A677573547551754F733D');
INSERT INTO "users" VALUES(4,'grace',0,'2026-12-01 03:54:10.099893','2026-12-01 03:54:21.740472','ff8f5f21d63e4be8897c198816bc9364',NULL,NULL);
INSERT INTO "users" VALUES(5,'heidi',0,'2026-12-01 03:54:10.263153','2026-12-01 03:54:21.109064','db8b9b01b3f84a878e2ce00dfbac2bc5',NULL,NULL);
INSERT INTO "users" VALUES(6,'bob',0,'2026-12-01 03:54:17.267730','2026-12-01 03:54:17.756120','970842f590284a909a93008851c1c7fa',NULL,X'6741414141414272446B5470687141585F57504963725674764F6137727459563448746975396C774F47304A553352555238655A594E5F692D4963576B6136494A62514F4D33575F413154396431516C57386E314E647053695573767347766C666B6234464558506159724C6832525978694F4A6359673D');
INSERT INTO "users" VALUES(7,'dave',0,'2026-12-01 03:54:17.330418','2026-12-01 03:54:18.482193','3f1ddf08ddc7470dbed8f87e6f3767ce','{}',X'6741414141414272446B547039355344326F76454C664435506277754B734B4D655248565063796E36384465544470515A4F6B7431776357365F5A38334C474C454D5546444D6269706F463076496442766166584A565A6A374545674779324368426A357578384A5F696A4D4F366278636662525F6B413D');
INSERT INTO "users" VALUES(8,'mallory',0,'2026-12-01 03:54:17.402282','2026-12-01 03:54:20.632900','5ddbb21176f44c4f8f6ff202b9992e52',NULL,NULL);
INSERT INTO "users" VALUES(9,'zoë',0,'2026-12-01 03:54:17.456777',NULL,'a1cedfd856f74fa692a9380294decf41',NULL,NULL);
CREATE TABLE users_info (
	id INTEGER NOT NULL, 
	username VARCHAR(128) NOT NULL, 
	password BLOB NOT NULL, 
	is_authorized BOOLEAN, 
	login_email_sent BOOLEAN, 
	email VARCHAR(128), 
	has_2fa BOOLEAN, 
	otp_secret VARCHAR(16), 
	CONSTRAINT pk_users_info PRIMARY KEY (id)
);
CREATE INDEX ix_api_tokens_prefix ON api_tokens (prefix);
COMMIT;
